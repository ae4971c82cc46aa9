"""The evaluation's report for people, as a page and as Markdown, made from the results alone."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downstream.report_plots import plot_all
from downstream.results_schema import Results

QUIET_SHARE = 0.1  # of the processors' time; beyond it speeds are said to be disturbed
_MODELS = {
    "arm": "arm", "type": "type", "bits_per_byte": "bits per byte",
    "bits_per_byte_spread": "spread of seeds", "lost_bits_per_byte": "lost to F16",
    "bits_per_byte_kept": "on text that is kept", "bits_per_byte_not_kept": "on other text",
    "prefill_tokens_per_s": "prefill tokens/s", "decode_tokens_per_s": "decode tokens/s",
    "decode_spread": "decode spread", "peak_mem_mib": "peak MiB", "file_mib": "file MiB",
    "verdict": "verdict",
}  # fmt: skip
_LATENCY = {
    "type": "type", "load_s": "load s", "cold_first_token_s": "cold first token s",
    "prompt_tokens": "prompt", "first_token_s": "first token s",
    "decode_joules_per_token": "J a token", "repetitions": "repetitions",
    "others_cpu_share": "CPU taken by others", "load_average": "load average",
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, and a table."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_reports(folder: Path, results: Results) -> None:
    """Write report.md, report.html and the plots."""
    told = results.model_dump(mode="json")
    pictures = plot_all(folder, told["models"])
    facts, sections = _facts(told), [s for s in _sections(told) if s.rows]
    (folder / "report.md").write_text(_markdown(facts, sections, pictures))
    (folder / "report.html").write_text(_page(folder, facts, sections, pictures))


def _facts(told: dict[str, Any]) -> list[tuple[str, str]]:
    machine, gate = told["machine"], told["gate"]
    best = ", ".join(f"{arm}: {kind or 'none'}" for arm, kind in gate["recommended"].items())
    facts = [
        ("Verdict", f"{gate['verdict']} ({best})" if best else str(gate["verdict"])),
        *((name.replace("_", " ").capitalize(), _cell(v)) for name, v in told["of"].items()),
        ("Without a model", _listed(told["baselines"]) + " bits per byte"),
        (
            "Machine",
            f"{machine['processor']}, {machine['threads']} of {machine['processors']} threads, "
            f"{machine['memory_gib']} GiB, reads {machine['bandwidth_gb_per_s']} GB/s; "
            f"OMP_WAIT_POLICY {machine['omp_wait_policy'] or 'not set'}",
        ),
        ("llama.cpp", machine["build"]),
        ("Load", _load(told["models"])),
        ("Energy", machine["no_energy_because"] or "whole packages, by RAPL"),
        ("Settings", _listed(told["settings"])),
    ]  # fmt: skip
    return facts if told["baselines"] else [fact for fact in facts if fact[0] != "Without a model"]


def _load(models: Sequence[dict[str, Any]]) -> str:
    shares = [m["others_cpu_share"] for m in models if m["others_cpu_share"] is not None]
    if not shares:
        return "not known"
    quiet = max(shares) <= QUIET_SHARE
    warning = "" if quiet else "; the machine was not quiet, so speeds scatter: see the spread"
    return f"others took up to {max(shares):.0%} of the processors meanwhile{warning}"


def _sections(told: dict[str, Any]) -> Iterable[Section]:
    models = told["models"]
    cost = [model for model in models if model["arm"] == models[0]["arm"]]
    yield _table(
        "Models", "Speeds are medians of rounds over all files in turn; spread is from lowest to "
        "highest over the median. Arms of one shape share a measure of cost. Peak memory is beyond "
        "the interpreter's own. A type on hold loses more than the gate allows.", _MODELS, models,
    )  # fmt: skip
    yield Section(
        "Why", "What the gate says of each.", ("arm", "type", "verdict", "reasons"),
        [[m["arm"], m["type"], _cell(m["verdict"]), "; ".join(m["reasons"])]
         for m in models if m["reasons"]],
    )  # fmt: skip
    yield Section(
        "Likeness to F16", "KL divergence in nats a token, and the same first choice.",
        ("arm", "type", "mean KL", "median KL", "99th percentile", "same first choice"),
        [[m["arm"], m["type"], *(_cell(m["likeness"][name]) for name in (
            "kl_mean_nats", "kl_median_nats", "kl_99th_percentile_nats", "top1_agreement"))]
         for m in models if m["likeness"]],
    )  # fmt: skip
    yield Section(
        "Tasks", "With standard errors; a difference under two of them is none.",
        ("arm", "type", "task", "metric", "value", "standard error", "items", "shots"),
        [[m["arm"], m["type"], *(_cell(row.get(name)) for name in (
            "task", "metric", "value", "stderr", "n", "shots"))]
         for m in models for row in m["tasks"] or ()],
    )  # fmt: skip
    yield _comparisons(told["comparisons"])
    yield Section(
        "Files", "Tensors by the type that they really have; where rows do not fit a type, "
        "llama.cpp takes another without a word.",
        ("type", "bits a weight", "tensors", "fell back"),
        [[m["type"], _cell(m["bits_per_weight"]), _listed(m["tensors"]), "; ".join(
            f"{row['tensors']} of {row['tensor']}: {row['wanted']} to {row['got']}"
            for row in m["fell_back"]) or "none"] for m in cost],
    )  # fmt: skip
    yield _table("Latency", "Threads pinned, warm-up left out.", _LATENCY, cost)
    yield Section(
        "Prompts and depths", "Seconds to read a prompt; tokens a second after others.",
        ("type", "what", "median", "spread"),
        [[m["type"], *row] for m in cost for row in _points(m)],
    )  # fmt: skip
    yield Section(
        "Memory", "Measured without mmap; the cache's computed size and share stand beside.",
        ("type", "context", "weights MiB", "KV cache MiB", "rest MiB", "computed cache MiB",
         "cache share", "computed share"),
        [[m["type"], *map(_cell, point.values())] for m in cost for point in m["memory"]],
    )  # fmt: skip
    yield Section(
        "Where decoding goes", "Share of time in products of matrices and vectors, of attention "
        "with the cache apart; slowdown is what measuring it cost.",
        ("type", "after", "products", "attention", "ms in products a token", "slowdown"),
        [[m["type"], *map(_cell, m["matrix"].values())] for m in cost if m["matrix"]],
    )  # fmt: skip
    yield Section(
        "Claims of the survey (arXiv 2409.15790)", "On these models, this build and this machine.",
        ("claim", "verdict", "figures"), [list(claim.values()) for claim in told["claims"]],
    )  # fmt: skip
    yield _recommendations(told)
    yield _devices(told["predictions"])
    yield Section(
        "This machine, predicted", "How far the prediction is off where it can be checked.",
        ("type", "predicted tokens/s", "measured tokens/s", "off"),
        [[row["type"], _cell(row["predicted_tokens_per_s"]), _cell(row["measured_tokens_per_s"]),
          f"{row['off_share']:+.0%}"] for row in told["check_here"]],
    )  # fmt: skip


def _comparisons(found: Sequence[dict[str, Any]]) -> Section:
    return Section(
        "Arms against each other", "Bits per byte of the first less the second on the same "
        "documents, below zero where the first is better; 95 % intervals by drawing groups (and "
        "seeds) again.",
        ("arm", "than", "type", "text", "difference", "from", "to", "documents", "verdict"),
        [[_cell(row[name]) for name in (
            "arm", "than", "type", "subset", "difference_bits_per_byte", "low", "high",
            "documents", "verdict")] for row in found],
    )  # fmt: skip


def _recommendations(told: dict[str, Any]) -> Section:
    devices = {device["name"]: device["device"] for device in told["profiles"]}
    return Section(
        "Recommended", "The best quality that fits the device, the budget and the gate.",
        ("device", "arm", "type", "refused"),
        [[devices[row["profile"]], _cell(row["arm"]), _cell(row["type"]), _listed(row["refused"])]
         for row in told["recommendations"]],
    )  # fmt: skip


def _devices(predictions: Sequence[dict[str, Any]]) -> Section:
    first = predictions[0]["arm"] if predictions else None
    return Section(
        "Devices, predicted", "Decoding as memory or arithmetic bounds it; see docs/evaluating.md.",
        ("device", "type", "tokens/s", "bound by", "first token s", "MiB", "fits"),
        [[_cell(row[name]) for name in (
            "profile", "type", "decode_tokens_per_s", "bound", "first_token_s", "memory_mib",
            "fits")] for row in predictions if row["arm"] == first],
    )  # fmt: skip


def _points(model: dict[str, Any]) -> Iterable[list[str]]:
    for point in model["prefill"]:
        yield [f"prompt of {point['tokens']}", f"{point['seconds']:.4g} s", _cell(point["spread"])]
    for point in model["decode"]:
        yield [
            f"decoding after {point['depth_tokens']}", f"{point['tokens_per_s']:.4g} tokens/s",
            _cell(point["spread"]),
        ]  # fmt: skip


def _table(title: str, note: str, columns: dict[str, str], rows: Sequence[Any]) -> Section:
    shown = [name for name in columns if any(row[name] is not None for row in rows)]
    return Section(
        title, note, [columns[n] for n in shown], [[_cell(row[n]) for n in shown] for row in rows]
    )


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in values.items())


def _cell(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    if isinstance(value, dict):
        return f"({_listed(value)})"
    return str(value)


def _markdown(
    facts: Sequence[tuple[str, str]], sections: Sequence[Section], pictures: dict[str, str]
) -> str:
    parts = ["# Evaluation", "\n".join(f"- {name}: {value}" for name, value in facts)]
    for section in sections:
        head = f"| {' | '.join(section.columns)} |\n|{'---|' * len(section.columns)}"
        rows = [[cell.replace("|", "\\|") for cell in row] for row in section.rows]
        body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts += [f"## {section.title}", section.note, f"{head}\n{body}"]
    parts += [f"![{told}]({name})" for name, told in pictures.items()]
    return "\n\n".join(parts) + "\n"


def _page(
    folder: Path, facts: Sequence[tuple[str, str]], sections: Sequence[Section],
    pictures: dict[str, str],
) -> str:  # fmt: skip
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    drawn = [
        (told, base64.b64encode((folder / name).read_bytes()).decode())
        for name, told in pictures.items()
    ]
    return environment.get_template("report.html").render(
        facts=facts, sections=sections, pictures=drawn
    )
