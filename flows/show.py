"""What a person sees of a run: the plan, the journey table, where things lie, what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from flows.estimate import TOKENS_PER_S, Estimate
from flows.recipe import Recipe
from pipeline.increment import is_inherited, outdated_links
from pipeline.ledger import Ledger
from pipeline.manifest import Manifest
from pipeline.step import Step
from pipeline.verify import sealed_stages
from pipeline.versions import parent_of, version_chain, version_number

if TYPE_CHECKING:
    from pipeline.sources_plan import Listed

PLACES = {
    "card": ("dataset card", "README.md"),
    "clean": ("what each rule took", "waterfall.md"),
    "train-filter": ("filter's report", "report/report.html"),
    "handoff": ("handoff", "handoff.json"),
    "quantize": ("GGUF files", "<arm>/model-<type>.gguf"),
    "evaluate": ("evaluation", "report.html"),
}


def open_console() -> Console:
    """Standard output; where no terminal says how wide it is, wide enough for any path."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
    return table


def print_plan(
    console: Console, recipe: Recipe, plan: Mapping[str, Step], estimates: Sequence[Estimate]
) -> None:
    """The dry run: which stage would run, which is sealed, and what the teacher would cost."""
    table = _table("plan", "stage", "would", "fingerprint")
    verbs = {"sealed": "skip (sealed)", "resume": "resume", "stale": "run (changed)"}
    for step in plan.values():
        would = verbs.get(step.state, "run")
        if step.state != "sealed" and is_inherited(step.stage.name, recipe.increment):
            would = "take over"
        table.add_row(step.stage.directory, would, step.fingerprint[:12])
    console.print(Group(table, Text()))
    print_cost(console, recipe, estimates)


def print_sources(console: Console, listed: Sequence[Listed]) -> None:
    """Which files each source has, before any is read."""
    table = _table("sources", "source", "format", "files", "MB")
    for one in listed:
        table.add_row(one.source.name, one.format, f"{len(one.files):,}", f"{one.bytes / 1e6:,.1f}")
    console.print(Group(table, Text()))


def print_cost(console: Console, recipe: Recipe, estimates: Sequence[Estimate]) -> None:
    """What the teacher is still to be asked, and would cost."""
    teacher = recipe.teacher
    if not estimates:
        console.print(f"teacher: {teacher.name}; nothing to ask")
        return
    table = _table(
        f"teacher: {teacher.name}; nothing is asked yet", "stage", "what", "calls", "at most",
        "prompt tokens a call", "answer tokens a call", "cost", "at most", "hours",
    )  # fmt: skip
    for one in estimates:
        costs = [one.cost(calls) for calls in (one.calls, one.most_calls)]
        table.add_row(
            one.stage,
            one.what,
            f"{one.calls:,}",
            f"{one.most_calls:,}",
            f"{one.prompt_tokens:,}",
            f"{one.answer_tokens:,}",
            *(f"{cost:.2f} {one.teacher.prices.currency}" for cost in costs),
            "" if one.teacher.batch else f"{one.hours(one.calls):,.1f}",
        )
    console.print(table)
    console.print(f"hours: at {TOKENS_PER_S} tokens/s an answer, within the recipe's limits")


def print_run(console: Console, run: Path) -> None:
    """The closing table of a run, from its manifests alone."""
    stages = sealed_stages(run)
    partial = sorted(path.name for path in run.glob("*.partial"))
    console.print(
        Group(
            _journey_table(run, stages),
            *_version(run),
            Text(),
            _places_table(stages),
            Text(),
            *_figures(stages),
            *(Text(f"unfinished: {name}", style="yellow") for name in partial),
        )
    )


def _version(run: Path) -> list[Text]:
    """Which version it is, and what it grew from; nothing for a first one."""
    chain = version_chain(run)
    if len(chain) == 1:
        return []
    grown_from = " <- ".join(str(path) for path in chain[1:])
    return [Text(f"version {version_number(run)}, grown from {grown_from}")]


def _journey_table(run: Path, stages: Mapping[str, tuple[Path, Manifest]]) -> Table:
    table = _table(
        f"journey of {run}", "stage", "unit", "in", "kept", "dropped", "failed", "seconds", "state"
    )
    parent = parent_of(run)
    for directory, manifest in stages.values():
        account = Ledger.from_json(manifest.ledger)
        table.add_row(
            directory.name,
            account.unit,
            f"{account.rows_in:,}",
            f"{account.kept:,}",
            f"{sum(account.dropped.values()):,}",
            f"{sum(account.failed.values()):,}",
            f"{manifest.seconds:.1f}",
            _state(manifest, stages, parent),
        )
    total = sum(manifest.seconds for _, manifest in stages.values())
    table.add_row("total", "", "", "", "", "", f"{total:.1f}", "")
    return table


def _state(
    manifest: Manifest, stages: Mapping[str, tuple[Path, Manifest]], parent: Path | None
) -> str:
    """`stale` where something that the stage was made from has been made anew since."""
    if parent is not None and outdated_links(manifest, parent):
        return "stale"
    for name, fingerprint in manifest.needs.items():
        if name not in stages or stages[name][1].fingerprint != fingerprint:
            return "stale"
        if _state(stages[name][1], stages, parent) == "stale":
            return "stale"
    return "sealed"


def _places_table(stages: Mapping[str, tuple[Path, Manifest]]) -> Table:
    table = _table("where things lie", "what", "where")
    table.columns[1].justify = "left"
    for name, (what, file) in PLACES.items():
        if name in stages:
            table.add_row(what, str(stages[name][0] / file))
    return table


def _figures(stages: Mapping[str, tuple[Path, Manifest]]) -> list[Table | Text]:
    facts: dict[str, Mapping[str, Any]] = {
        name: manifest.facts for name, (_, manifest) in stages.items()
    }
    table = _table("figures", "what", "value")
    if "label" in facts:
        found = facts["label"]
        table.add_row("labels by", str(found.get("annotator")))
        table.add_row("answers of the teacher a second", _number(found.get("answers_per_second")))
        for pair in found.get("agreement", {}).get("pairs", []):
            names = (n.replace(str(found["annotator"]), "the teacher") for n in pair["annotators"])
            table.add_row(f"weighted kappa: {' / '.join(names)}", _number(pair["kappa"]))
    if "train-filter" in facts:
        found = facts["train-filter"]
        for key in ("precision", "recall", "base_rate"):
            table.add_row(
                f"filter: {key.replace('_', ' ')} of the positive class", _number(found.get(key))
            )
    if "apply-filter" in facts:
        table.add_row("kept share of documents", _number(facts["apply-filter"].get("kept_share")))
    if "synthesize" in facts:
        found = facts["synthesize"]
        for task, wanted in found["wanted"].items():
            if wanted:
                table.add_row(f"{task}s accepted", f"{found['accepted'][task]:,} of {wanted:,}")
    if "evaluate" not in facts:
        return [table]
    found = facts["evaluate"]
    others = ", ".join(f"{name} {value:.3f}" for name, value in found["baselines"].items())
    return [
        table, Text(), _models_table(found["models"]),
        Text(f"bits per byte of the same text without a model: {others}"),
        Text(f"gate: {found['gate']['verdict']}"),
    ]  # fmt: skip


def _models_table(models: list[Mapping[str, Any]]) -> Table:
    table = _table(
        "models", "arm", "type", "bits per byte", "on kept text", "prefill tok/s",
        "decode tok/s", "peak MiB", "file MiB",
    )  # fmt: skip
    for model in models:
        table.add_row(
            str(model["arm"]),
            str(model["type"]),
            _number(model["bits_per_byte"]),
            _number(model["bits_per_byte_kept"]),
            f"{model['prefill_tokens_per_s']:,.0f}",
            f"{model['decode_tokens_per_s']:,.0f}",
            f"{model['peak_mem_mib']:.0f}",
            f"{model['file_mib']:.1f}",
        )
    return table


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
