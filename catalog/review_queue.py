"""Labels that a person should look at: where readings disagree, or the label and the filter do.

First come the documents on whose score annotators differ most (`pipeline.review`, from every
opinion that was sealed), then those of the test split whose label is farthest from what the filter
expects. The filter never learned from the test split, so its opinion there is independent; on the
documents that it was trained on it would only repeat the label. What was decided is left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from catalog.parquet_reader import Reader
from catalog.sample_files import Corpus
from catalog.sample_journey import locate
from catalog.sample_rows import read_rows
from pipeline.review import ReviewItem, most_disputed

QUEUE = 200  # documents of each sort at most
ITEMS_A_PAGE = 5
EXCERPT_CHARS = 2_000
LEAST_DISTANCE = 1.5  # between a label and what the filter expects, in points of the score


@dataclass(frozen=True)
class Disputed:
    """One item: why it is here, and how far apart the opinions are (points of the score)."""

    doc_id: str
    why: str  # "readings" or "filter"
    apart: float
    row: dict[str, Any] = field(default_factory=dict)
    opinions: list[dict[str, Any]] = field(default_factory=list)


def find_disputed(reader: Reader, corpus: Corpus, decided: Collection[str]) -> list[Disputed]:
    """The queue without what was decided, the most disputed of each sort first."""
    queue = [*_between_readings(reader, corpus), *_with_the_filter(reader, corpus)]
    seen = set(decided)
    left = []
    for item in queue:
        if item.doc_id not in seen:
            seen.add(item.doc_id)
            left.append(item)
    return left


def open_items(reader: Reader, corpus: Corpus, items: list[Disputed]) -> list[Disputed]:
    """The items with their texts and opinions; those whose document is gone are left out."""
    places = [p for item in items if (p := locate(reader, corpus, item.doc_id)) is not None]
    rows = {row["doc_id"]: row for row in read_rows(reader, corpus, places, EXCERPT_CHARS)}
    said = reader.rows(
        "SELECT doc_id, annotator, score, justification, unlabelled_reason, rubric "
        "FROM read_parquet($files) WHERE doc_id IN (SELECT unnest($ids)) ORDER BY annotator",
        {
            "files": list(corpus.opinions or corpus.labels),
            "ids": [item.doc_id for item in items],
        },
    )
    return [
        Disputed(
            item.doc_id, item.why, item.apart, rows[item.doc_id],
            [one for one in said if one["doc_id"] == item.doc_id],
        )
        for item in items
        if item.doc_id in rows
    ]  # fmt: skip


def _between_readings(reader: Reader, corpus: Corpus) -> list[Disputed]:
    """Documents with more than one opinion, or with one that gave no score."""
    if not corpus.opinions:
        return []
    rows = reader.rows(
        "SELECT doc_id, list(annotator ORDER BY annotator) AS names, "
        "list(score ORDER BY annotator) AS scores FROM read_parquet($opinions) "
        "GROUP BY doc_id HAVING count(*) > count(score) OR min(score) < max(score)",
        {"opinions": list(corpus.opinions)},
    )
    items = [
        ReviewItem(
            row["doc_id"], "", "", "", dict(zip(row["names"], row["scores"], strict=True)), "", None
        )
        for row in rows
    ]
    return [Disputed(i.doc_id, "readings", i.disagreement) for i in most_disputed(items, QUEUE)]


def _with_the_filter(reader: Reader, corpus: Corpus) -> list[Disputed]:
    """Documents of the test split whose label is far from what the filter expects."""
    if not (corpus.labels and corpus.scores):
        return []
    rows = reader.rows(
        "SELECT l.doc_id, abs(l.score - s.expected_score) AS apart "
        "FROM read_parquet($labels) l JOIN read_parquet($scores) s USING (doc_id) "
        "WHERE l.split = 'test' AND l.score IS NOT NULL "
        "AND abs(l.score - s.expected_score) >= $least "
        "ORDER BY apart DESC, l.doc_id LIMIT $most",
        {
            "labels": list(corpus.labels), "scores": list(corpus.scores),
            "least": LEAST_DISTANCE, "most": QUEUE,
        },
    )  # fmt: skip
    return [Disputed(row["doc_id"], "filter", row["apart"]) for row in rows]
