"""Samples to read: a page of documents for each arm, chosen by a hash, fenced to stay text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.arms import ARMS
from pipeline.card_config import CardConfig
from pipeline.card_tables import fenced, plain
from pipeline.records import read_rows
from pipeline.splits import place_of
from pipeline.stage import Sealed


def write_samples(folder: Path, needs: Mapping[str, Sealed], config: CardConfig, seed: int) -> int:
    """Write a page for each arm; returns the documents on them."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {arm: _choose(needs["decontaminate"], arm, config.samples, seed) for arm in ARMS}
    wanted = set().union(*chosen.values())
    scores = read_rows(needs["apply-filter"].files("scores/*.parquet"), ["doc_id", "score"])
    score_of = {row["doc_id"]: row["score"] for row in scores if row["doc_id"] in wanted}
    for arm, ids in chosen.items():
        pages = [f"# Samples of the arm {arm}\n"]
        for row in read_rows(needs["decontaminate"].files(f"arms/{arm}/*.parquet")):
            if row["doc_id"] in ids:
                pages.append(_sample(row, score_of.get(row["doc_id"]), config.sample_chars))
        (folder / f"{arm}.md").write_text("\n".join(pages))
    return sum(len(ids) for ids in chosen.values())


def _choose(arms: Sealed, arm: str, samples: int, seed: int) -> set[str]:
    ids = (row["doc_id"] for row in read_rows(arms.files(f"arms/{arm}/*.parquet"), ["doc_id"]))
    return set(sorted(ids, key=lambda i: place_of(i, seed, "sample"))[:samples])


def _sample(row: Mapping[str, Any], score: float | None, chars: int) -> str:
    told = "synthetic, not scored" if score is None else f"score {score:.3f}"
    licence = plain(row["licence"])
    said = f"{row['source']}, {told}, licence {licence}"
    return f"## {row['doc_id']}\n\n{said}\n\n{fenced(row['text'][:chars])}"
