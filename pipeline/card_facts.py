"""What is told of a dataset: the manifests of its stages, and the tables that are made of them.

Every figure of the card comes through here, so that `primer card --check` can make them again and
compare. What is not known is None here, and "unknown" where it is read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.card_config import CardConfig
from pipeline.card_data import CONFIGS, DEFAULT_CONFIG, VALIDATION, Part, parts_of
from pipeline.ledger import Ledger
from pipeline.manifest import Spend
from pipeline.records import read_batches
from pipeline.stage import Sealed

Row = tuple[Any, ...]

# Of `pipeline.judge_exercise`: what only a run of the tests can find, and what is looked at later.
_FAILED_RUNS = ("tests_fail_with_solution", "tests_end_early", "too_few_tests_run",
                "solution_cannot_be_emptied", "tests_pass_without_body",
                "tests_fail_for_another_reason", "tests_cannot_fail")  # fmt: skip
_AFTER_RUNS = ("near_copy", "low_expected_score", "low_rubric_score", "not_weighed")
_CURVE_POINTS = 10
_MOST_LICENCES = 40


@dataclass(frozen=True)
class Told:
    """All that a card rests on."""

    needs: Mapping[str, Sealed]
    config: CardConfig
    parts: Sequence[Part]
    changes: Mapping[str, Any]  # since the parent version

    @cached_property
    def facts(self) -> dict[str, Mapping[str, Any]]:
        """The facts of each stage by its name."""
        return {name: sealed.facts for name, sealed in self.needs.items()}

    def part(self, name: str) -> Part:
        """A published part by its name."""
        return next(part for part in self.parts if part.name == name)

    @cached_property
    def contents(self) -> Mapping[str, Mapping[str, int]]:
        """What the default configuration's train split holds."""
        return self.part(parts_of(DEFAULT_CONFIG)["train"]).counts

    @cached_property
    def sources(self) -> list[Mapping[str, Any]]:
        """The sources as the recipe names them."""
        found: list[Mapping[str, Any]] = self._section("ingest", "IngestConfig")["sources"]
        return found

    @cached_property
    def teacher(self) -> Mapping[str, Any]:
        """The section of the recipe that says who labels and writes."""
        found: Mapping[str, Any] = self._section("label", "TeacherConfig")
        return found

    @cached_property
    def labelling(self) -> Mapping[str, Any]:
        """The section of the recipe that says how it was labelled."""
        found: Mapping[str, Any] = self._section("label", "LabelConfig")
        return found

    def _section(self, stage: str, name: str) -> Any:
        return self.needs[stage].manifest.config[name]

    def read(self, stage: str, file: str) -> Any:
        """A sealed JSON file of a stage."""
        return json.loads(self.needs[stage].file(file).read_text())


def parts_table(told: Told) -> list[Row]:
    """Configuration, split, documents, files, bytes in memory."""
    rows = []
    for config in CONFIGS:
        for split, name in parts_of(config).items():
            part = told.part(name)
            rows.append((config, split, part.documents, len(part.files), part.memory_bytes))
    return rows


def journey(told: Told) -> list[Row]:
    """A stage's name and its account."""

    def reasons(counts: Mapping[str, int]) -> str:
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{reason} {n}" for reason, n in ordered if n) or "0"

    def row(name: str, account: Ledger) -> Row:
        dropped, failed = reasons(account.dropped), reasons(account.failed)
        return name, account.unit, account.rows_in, account.kept, dropped, failed

    return [row(name, sealed.ledger) for name, sealed in told.needs.items()]


def sources_table(told: Told) -> list[Row]:
    """Name, kind, licence and language as stated in the recipe, and files that were read."""
    files = told.facts["ingest"].get("files_by_source", {})
    return [
        (s["name"], s["kind"], s["licence"], s["language"], files.get(s["name"]))
        for s in told.sources
    ]


def annotators(told: Told) -> list[Row]:
    """Name, what it is, model, revision, share of the sample that it read."""
    facts, config = told.facts["label"], told.labelling
    rows: list[Row] = [
        (facts["annotator"], _what(facts["annotator_is_llm"]), told.teacher["model"],
         _revision(told.teacher, facts["annotator_is_llm"], told), 1.0)
    ]  # fmt: skip
    if config["again_share"] is not None:
        again = (*rows[0][1:4], config["again_share"])
        rows.append((f"{facts['annotator']}, again", *again))
    for one in config["annotators"]:
        teacher = one["teacher"] or told.teacher
        # whether a further one is a language model stands in no manifest
        kind = None if one["teacher"] else _what(facts["annotator_is_llm"])
        rows.append((one["name"], kind, teacher["model"], None, one["share"]))
    if facts["human_labels"]:
        share = facts["human_labels"] / facts["sampled"]
        rows.append(("human", "people", "none", "none", share))
    return rows


def _what(is_llm: bool) -> str:
    return "language model" if is_llm else "rules"


def _revision(teacher: Mapping[str, Any], is_llm: bool, told: Told) -> str | None:
    """Rules are of Primer's own commit; which weights an endpoint serves is not known."""
    commit = told.needs["label"].manifest.code["commit"]
    if not is_llm and teacher["base_url"] is None and commit != "unknown":
        return f"Primer {commit[:12]}"
    return None


def threshold_curve(told: Told) -> list[Row]:
    """Points of the filter's curve, the chosen one among them.

    Threshold, precision, recall, share of documents kept, of bytes, tokens kept, whether chosen.
    """
    curve = told.read("train-filter", "threshold.json")["curve"]
    step = max(1, -(-len(curve) // _CURVE_POINTS))
    shown = [p for i, p in enumerate(curve) if i % step == 0 or p["chosen"] or i == len(curve) - 1]
    return [
        (p["threshold"], p["precision"], p["recall"], p["kept_share"], p["kept_share_bytes"],
         p["kept_tokens"], "chosen" if p["chosen"] else "")
        for p in shown
    ]  # fmt: skip


def pieces(told: Told) -> list[Row]:
    """Of each task that was asked for: slots, accepted pieces, coverage of pairs of choices."""
    facts = told.facts["synthesize"]
    return [
        (task, wanted, facts["accepted"][task], facts["coverage"].get(task))
        for task, wanted in facts["wanted"].items()
        if wanted
    ]


def exercises(told: Told) -> dict[str, Any] | None:
    """How many exercises stood the run of their tests; None where none was run.

    A drawn exercise is run when it is one by its form; one that stood may still be rejected for
    being a near copy, or too simple.
    """
    accepted: int = told.facts["synthesize"]["accepted"]["exercise"]
    reasons: Counter[str] = Counter()
    files = [told.needs["synthesize"].file("rejects.parquet")]
    for batch in read_batches(files, ["reason", "draw"]):
        for reason, draw in zip(batch["reason"].to_pylist(), batch["draw"], strict=True):
            if json.loads(draw.as_py()).get("task") == "exercise":
                reasons[reason] += 1
    stood = accepted + sum(reasons[reason] for reason in _AFTER_RUNS)
    executed = stood + sum(reasons[reason] for reason in _FAILED_RUNS)
    if not executed:
        return None
    return {"executed": executed, "stood": stood, "share": stood / executed, "accepted": accepted}


def drift(told: Told) -> Mapping[str, Any] | None:
    """What stage 5 says of drift; None where it compared nothing."""
    found: Mapping[str, Any] | None = told.facts["apply-filter"]["drift"]
    if found is None:
        return None
    nth = "document" if found["every"] == 1 else f"document, one in {found['every']} by a hash,"
    return {**found, "every_nth": nth}


def drift_table(found: Mapping[str, Any]) -> list[Row]:
    """Strata with their verdict, sizes, and the columns that are farthest."""
    rows = []
    for s in found["strata"]:
        first = s["columns"][0] if s["columns"] else {}
        score = s["score"]["psi"] if s["score"] else None
        rows.append(
            (s["stratum"], s["verdict"], s["reference_documents"], s["documents"],
             s["drifted_columns"], score, first.get("name"), first.get("psi"))
        )  # fmt: skip
    return rows


def benchmarks(told: Told) -> list[Row]:
    """Name, items, items found in the corpus, documents removed, how, and the file's hash."""
    return [
        (b["name"], b["texts"], b["items"], b["items_leaked"], b["documents_removed"],
         ", ".join(f"{kind} {n}" for kind, n in b["documents_by_kind"].items()) or "0",
         b["sha256"][:16])
        for b in told.read("decontaminate", "benchmarks.json")
    ]  # fmt: skip


def arms(told: Told) -> list[Row]:
    """Documents, epochs and tokens by arm, as the trainer gets them."""
    return [
        (name, a["documents"], a["epochs"], a["base_tokens"], a["anneal_tokens"],
         a["base_synthetic_tokens"] + a["anneal_synthetic_tokens"])
        for name, a in told.facts["tokenize"]["arms"].items()
    ]  # fmt: skip


def licences(told: Told) -> list[Row]:
    """Documents by licence and configuration, the most frequent ones and the rest together."""
    names = [*(parts_of(config)["train"] for config in CONFIGS), VALIDATION]
    by_part = [told.part(name).counts["licence"] for name in names]
    total: Counter[str] = Counter()
    for counts in by_part:
        total.update(counts)
    ordered = sorted(total, key=lambda name: (-total[name], name))
    shown, rest = ordered[:_MOST_LICENCES], ordered[_MOST_LICENCES:]
    rows: list[Row] = [(name, *(c.get(name, 0) for c in by_part)) for name in sorted(shown)]
    if rest:
        others = (sum(c.get(name, 0) for name in rest) for c in by_part)
        rows.append((f"{len(rest)} others", *others))
    return rows


def spend(told: Told) -> list[Row]:
    """What was estimated before the requests left, and what was billed."""
    rows = []
    for name, sealed in told.needs.items():
        origin = sealed.facts.get("inherited_from")
        if sealed.manifest.spend:
            rows.append(_bill(name, sealed.manifest.spend))
        elif origin and origin["spend"]:
            rows.append(_bill(f"{name}, paid in {origin['run']}", Spend(**origin["spend"])))
    return rows


def _bill(name: str, s: Spend) -> Row:
    lost = f" (and at most {s.lost_cost_at_most:.4f} lost)" * bool(s.lost_cost_at_most)
    return (
        name, s.calls, s.batched_calls, s.estimated_prompt_tokens, s.prompt_tokens,
        s.estimated_completion_tokens, s.completion_tokens, s.reasoning_tokens,
        f"{s.cost:.4f} {s.currency}{lost}",
    )  # fmt: skip


def fingerprints(told: Told) -> list[Row]:
    """Each stage's fingerprint, the hash of its outputs, its seed and its commit."""
    return [
        (name, m.fingerprint[:16], m.outputs_sha256[:16], m.seed, _commit(m.code))
        for name, m in ((name, sealed.manifest) for name, sealed in told.needs.items())
    ]


def _commit(code: Mapping[str, Any]) -> str:
    return str(code["commit"]) + " with uncommitted changes" * (code["dirty"] is True)
