"""What stage 6 says of its pieces: diversity, coverage of the plan, and how they are spread.

Made from the written files, a bounded sample of them, so that it costs no memory while pieces are
written, and a million of them are reported like a thousand.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.coverage import measure_coverage, plot_coverage
from pipeline.diversity_report import write_diversity
from pipeline.draws import Plan
from pipeline.near_meaning import TextEncoder
from pipeline.records import read_rows
from pipeline.rounds import Stock
from pipeline.splits import place_of

MOST_TEXTS = 4_000  # of a set
LESSON = "lesson"


def report_synthesis(
    out: Path, seed: int, reference: Sequence[str], plans: Mapping[str, Plan],
    stocks: Mapping[str, Stock], encoder: TextEncoder | None,
) -> dict[str, Any]:  # fmt: skip
    """Write diversity.json, diversity.html, coverage.json and coverage.png; the figures in both."""
    accepted = sorted(path for path in out.glob("*/00000.parquet"))
    sets = {
        "accepted": _sample(accepted, seed),
        "raw": _sample([*accepted, out / "rejects.parquet"], seed),
        "human_reference": list(reference[:MOST_TEXTS]),
    }
    diversity = write_diversity(out, sets, seed, encoder)
    coverage = {
        task: measure_coverage(
            _draws(accepted, task), plan.shares(stocks[task].refused if task in stocks else set())
        )
        for task, plan in plans.items()
    }
    (out / "coverage.json").write_text(json.dumps(coverage, indent=1) + "\n")
    shown = LESSON if LESSON in coverage else next(iter(coverage))
    figure = plot_coverage(coverage[shown])
    figure.savefig(out / "coverage.png", dpi=110, metadata={"Software": None})
    return {"diversity": diversity, "coverage": coverage}


def _sample(paths: Sequence[Path], seed: int) -> list[str]:
    """Texts drawn by a hash, in its order; of rejects those that were written."""
    rows = (
        (place_of(row.get("doc_id") or row["prompt_id"], seed, "diversity"), row["text"])
        for path in paths
        for row in read_rows([path])
        if row["text"]
    )
    return [text for _, text in heapq.nsmallest(MOST_TEXTS, rows)]


def _draws(paths: Iterable[Path], task: str) -> Iterable[Mapping[str, Any]]:
    """The draws of a task's accepted pieces."""
    for row in read_rows(paths, ["metadata"]):
        metadata = json.loads(row["metadata"])
        if metadata["task"] == task:
            yield metadata["draw"]
