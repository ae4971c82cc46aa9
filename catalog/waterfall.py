"""From sources to tokens: what each stage took, for what reason, and where to look at it.

Ledgers count in the unit of their stage; documents are counted by source and kind from the sealed
files themselves, which reads two narrow columns (0.05 s a stage of 1,000,000 documents), once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from catalog.parquet_reader import open_reader
from catalog.runs_index import Run
from catalog.sample_files import Files
from catalog.sealed_files import read_json
from pipeline.stage import Sealed

JOURNEY = (
    "ingest", "clean", "label", "train-filter", "apply-filter", "synthesize", "decontaminate",
    "tokenize",
)  # fmt: skip
UNITS = ("rows", "bytes", "tokens")


@dataclass(frozen=True)
class Loss:
    """Rows that a stage did not keep, for one reason; `look` is the page that shows them."""

    reason: str
    rows: int
    failed: bool
    look: str | None


def losses(run: Run, root: str) -> list[tuple[str, Sealed, list[Loss]]]:
    """Every sealed stage up to the tokens with what it did not keep, the most first."""
    found = []
    for stage in JOURNEY:
        if stage not in run.stages:
            continue
        account = run.stages[stage].ledger
        lost = [
            Loss(reason, rows, failed, _look(root, stage, reason))
            for failed, reasons in ((False, account.dropped), (True, account.failed))
            for reason, rows in reasons.items()
        ]
        found.append((stage, run.stages[stage], sorted(lost, key=lambda one: -one.rows)))
    return found


def _look(root: str, stage: str, reason: str) -> str | None:
    """Where what was lost for a reason can be looked at; None where no table names it."""
    asked = urlencode({"reason": reason})
    if stage in ("ingest", "synthesize"):
        return f"{root}/rejected/{stage}?{asked}"
    return {
        "clean": f"{root}/samples?{asked}",
        "label": f"{root}/samples?label=none",
        "apply-filter": f"{root}/samples?decision=below_threshold",
        "decontaminate": f"{root}/contamination",
        "tokenize": f"{root}/samples?decision=held_out" if reason == "held_out_not_used" else None,
    }.get(stage)


def narrowing(run: Run) -> list[tuple[str, int, str]]:
    """What is left of the records, step by step: words, how many, and the unit."""
    stages, steps = run.stages, []
    if "ingest" in stages:
        account = stages["ingest"].ledger
        steps.append(("records in the sources", account.rows_in, account.unit))
        steps.append(("became documents", account.kept, "documents"))
    if "clean" in stages:
        steps.append(("passed cleaning", stages["clean"].ledger.kept, "documents"))
    if "apply-filter" in stages:
        steps.append(("kept by the filter", stages["apply-filter"].ledger.kept, "documents"))
    arms = stages["decontaminate"].facts["documents_by_arm"] if "decontaminate" in stages else {}
    for arm in ("kept", "kept+synthetic"):
        if arm in arms:
            steps.append((f"arm {arm}, without leaks", arms[arm], "documents"))
    return steps


def cleaning(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The rules of cleaning by kind, in the order in which they were asked; see
    `pipeline.waterfall`. Empty where a run of an older Primer has none.
    """
    table: Sequence[dict[str, Any]] = read_json(run.stages["clean"], "waterfall.json") or ()
    return {
        kind: [row for row in table if row["kind"] == kind]
        for kind in sorted({row["kind"] for row in table})
    }


def by_source(run: Run) -> tuple[list[str], list[tuple[str, str, list[int]]]]:
    """Columns, and for each source and kind the documents in each of them."""
    sets: dict[str, Files] = {}
    for column, stage, pattern in (
        ("came in", "ingest", "documents/*.parquet"),
        ("passed cleaning", "clean", "documents/*.parquet"),
        ("kept by the filter", "apply-filter", "kept/*.parquet"),
        ("arm kept+synthetic", "decontaminate", "arms/kept+synthetic/*.parquet"),
    ):
        if stage in run.stages:
            sets[column] = tuple(map(str, run.stages[stage].files(pattern)))
    key = tuple(sealed.manifest.outputs_sha256 for sealed in run.stages.values())
    counts = {column: _count(key, files) for column, files in sets.items() if files}
    names = sorted({name for found in counts.values() for name in found})
    rows = [(*name, [found.get(name, 0) for found in counts.values()]) for name in names]
    return list(counts), rows


@lru_cache(200)
def _count(key: Files, files: Files) -> Mapping[tuple[str, str], int]:
    """Documents of some files by source and kind; a new `key` asks anew."""
    with open_reader("clean", files) as reader:
        rows = reader.rows(
            "SELECT source, kind, count(*) AS n FROM read_parquet($files) GROUP BY ALL",
            {"files": list(files)},
        )
    return {(row["source"], row["kind"]): row["n"] for row in rows}
