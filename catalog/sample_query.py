"""Which documents of a run match a reader's filters, a page at a time, whatever their number.

A page is found in two steps. The first looks at narrow columns only (ids, sources, scores) and
keeps where each of its documents lies: file and row. The second reads the texts of those rows
alone. A page begins after the last document of the page before (a keyset), so the thousandth
costs what the first does. Words in the texts themselves are looked for stretch by stretch
(`catalog.sample_search`), as no index of them is kept.

What it costs with 1,000,000 documents on one core: about 0.2 s a page (benchmarks/catalog.py).
Source: Markus Winand, "We need tool support for keyset pagination",
https://use-the-index-luke.com/no-offset
"""
# ruff: noqa: S608  # SQL of constants of this module; what a reader asks for is bound to $names

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from starlette.exceptions import HTTPException

from catalog.parquet_reader import Reader, open_reader
from catalog.sample_files import Corpus
from catalog.sample_filters import UNKNOWN, Filters
from catalog.sample_question import FACETS, REMEMBERED, SHELVES, question, shelves_of

PAGE_ROWS = 20
CHOICES = 200  # of a filter that are offered

_UNSCORED = -1.0  # the rank of a document without a score, below every other
_RANKS = {
    "score_down": f"coalesce(CAST(d.score AS DOUBLE), {_UNSCORED})",
    "score_up": "-coalesce(CAST(d.score AS DOUBLE), 2)",  # so that every order goes down
    "id": "CAST(0 AS DOUBLE)",
}
# Those that cleaning dropped have no score: first come the examples, whose text can be read.
_HAS_TEXT = "CAST(d.doc_id IN (SELECT doc_id FROM read_parquet($examples)) AS DOUBLE)"


@dataclass(frozen=True)
class Place:
    """Where a document lies, and its rank, from which the next page goes on."""

    doc_id: str
    shelf: str
    path: str
    row: int
    rank: float = 0.0

    @property
    def cursor(self) -> str:
        """What the address of the next page says."""
        return f"{self.rank!r}~{self.doc_id}"


Cursor = tuple[float, str]


def read_cursor(given: str) -> Cursor | None:
    """The rank and id that a page goes on after; 400 for what no page has made."""
    if not given:
        return None
    rank, _, doc_id = given.partition("~")
    try:
        value = float(rank)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not doc_id or "\x00" in doc_id:
        raise HTTPException(400, "The address does not say where the page begins.")
    return value, doc_id[:200]


def find_page(
    reader: Reader, corpus: Corpus, filters: Filters, after: Cursor | None
) -> tuple[list[Place], bool]:
    """The places of a page's documents, and whether more come after them."""
    places: list[Place] = []
    by_score = filters.order == "score_down" and corpus.scores
    if by_score and len(shelves_of(filters)) > 1 and (after is None or after[0] > _UNSCORED):
        places = _find(reader, corpus, filters, after, "passed")  # the others come last
        if len(places) <= PAGE_ROWS or places[-1].rank == _UNSCORED:
            places = []
    if not places:
        places = _find(reader, corpus, filters, after)
    return places[:PAGE_ROWS], len(places) > PAGE_ROWS


def _find(
    reader: Reader, corpus: Corpus, filters: Filters, after: Cursor | None, shelf: str | None = None
) -> list[Place]:
    """One place more than a page has."""
    source, values = question(corpus, filters, shelf)
    rank = _rank(corpus, filters)
    if after is not None:
        source += f" AND ({rank} < $rank OR ({rank} = $rank AND d.doc_id > $last))"
        values |= {"rank": after[0], "last": after[1]}
    found = reader.rows(
        f"SELECT d.doc_id, d.shelf, d.file_index, d.file_row_number, {rank} AS rank {source} "
        f"ORDER BY rank DESC, d.doc_id LIMIT {PAGE_ROWS + 1}",
        values,
    )
    files = (corpus.passed, corpus.synthetic, corpus.ingested)
    return [
        Place(
            row["doc_id"], SHELVES[row["shelf"]], files[row["shelf"]][row["file_index"]],
            row["file_row_number"], row["rank"],
        )
        for row in found
    ]  # fmt: skip


def _rank(corpus: Corpus, filters: Filters) -> str:
    """What documents are ordered by, downwards."""
    if shelves_of(filters) == ("dropped",):
        return _HAS_TEXT if corpus.examples and filters.order != "id" else _RANKS["id"]
    return _RANKS[filters.order if corpus.scores else "id"]


def count(corpus: Corpus, filters: Filters) -> int:
    """How many documents match; remembered until something is sealed anew."""
    return _count(corpus, replace(filters, order="score_down"))


@lru_cache(REMEMBERED)
def _count(corpus: Corpus, filters: Filters) -> int:
    if filters.narrowed:
        source, values = question(corpus, filters)
        with open_reader("clean", corpus.every_file) as reader:
            return reader.number(f"SELECT count(*) AS n {source}", values)
    with open_reader("clean", corpus.every_file) as reader:  # the files' footers say it
        return sum(
            reader.number("SELECT count(*) AS n FROM read_parquet($files)", {"files": list(files)})
            for files in (corpus.passed, corpus.synthetic, corpus.dropped)
            if files
        )


@lru_cache(REMEMBERED)
def choices(corpus: Corpus) -> dict[str, list[tuple[str, int]]]:
    """What may be chosen of each of `FACETS`, with the number of documents, the most first."""
    columns = ", ".join(FACETS)
    files = [*(corpus.ingested or corpus.passed), *corpus.synthetic]
    if not files:
        return {name: [] for name in FACETS}
    with open_reader("clean", corpus.every_file) as reader:
        rows = reader.rows(
            f"SELECT {columns}, count(*) AS n FROM read_parquet($files) GROUP BY ALL",
            {"files": files},
        )
    found: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
    for row in rows:
        for name in FACETS:
            found[name][row[name] or UNKNOWN] += row["n"]
    return {name: counter.most_common(CHOICES) for name, counter in found.items()}


def decide(facts: Mapping[str, Any]) -> str:
    """Which of `sample_filters.DECISIONS` is true of a document, by what is known about it."""
    if facts["shelf"] == "dropped":
        return "dropped_in_cleaning"
    if facts["leaks"]:
        return "contaminated"
    if facts["shelf"] == "synthetic":
        return "synthetic"
    if facts["held_out"]:
        return "held_out"
    if facts["keep"] is None:
        return "not_scored"
    return "kept" if facts["keep"] else "below_threshold"
