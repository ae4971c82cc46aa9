"""Clusters of copies and who survives: pairs united, one row of evidence for each other document.

Clusters are what confirmed pairs connect, so two documents of one cluster may be less alike than
the limit: the evidence gives each one's similarity to the survivor that stands for it. Which pairs
are united first does not matter: a cluster's root is its earliest document.

This runs in one process, which holds at most `DOCUMENT_BYTES` for each document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.copies_checks import equal_minima, runs_of
from pipeline.copies_runs import Run
from pipeline.near_copies import MINIMA

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

COPY = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("cluster", pa.int64(), nullable=False),  # numbered by their earliest documents
        pa.field("survivor", pa.string(), nullable=False),  # the doc_id that stands for it
        pa.field("similarity", pa.float32(), nullable=False),  # to the survivor, estimated
        # "exact" or "near", to the survivor; with _EARLIER where that is of an earlier version
        pa.field("kind", pa.string(), nullable=False),
    ]
)
EARLIER = "_earlier"
DOCUMENT_BYTES = 40  # roots 4, survivors 4, scores 8, exact pairs 8 and twice that while sorted
_ROWS = 1 << 17
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


@dataclass(frozen=True)
class Clusters:
    """Who belongs to whom, for N documents by position."""

    runs: Sequence[Run]
    roots: npt.NDArray[Any]  # [N]: the earliest document of each one's cluster
    survivors: npt.NDArray[Any]  # [N], by root
    heads: npt.NDArray[Any]  # the roots of clusters of two and more, sorted
    exact: UInt64s  # pairs, sorted: each exact copy with the first of its family
    earlier: int = 0  # documents of earlier versions, which come first

    def batches(self, first: int = 0, end: int | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of COPY for every document that does not survive, in source order.

        `first` and `end` are positions: of these documents alone, such as those of one shard.
        """
        end = len(self.roots) if end is None else end
        for begin in range(first, end, _ROWS):
            roots = self.roots[begin : min(end, begin + _ROWS)]
            survivors = self.survivors[roots].astype(np.int64)
            copies = np.flatnonzero(survivors != np.arange(begin, begin + len(roots)))
            if len(copies):
                yield self._rows(copies + begin, survivors[copies], roots[copies])

    def _rows(self, copies: Int64s, survivors: Int64s, roots: Any) -> pa.RecordBatch:
        pairs = (copies.astype(np.uint64) << _32) | survivors.astype(np.uint64)
        similarity = equal_minima(self.runs, pairs).astype(np.float32) / MINIMA
        exact = self._family(copies) == self._family(survivors)
        kinds = np.where(exact, "exact", "near").astype(object)
        kinds[survivors < self.earlier] += EARLIER
        columns = [
            doc_ids(self.runs, copies),
            pa.array(np.searchsorted(self.heads, roots).astype(np.int64)),
            doc_ids(self.runs, survivors),
            pa.array(similarity),
            pa.array(kinds, pa.string()),
        ]
        return pa.record_batch(columns, schema=COPY)

    def _family(self, at: Int64s) -> Int64s:
        """The first document with the same exact hash."""
        wanted = at.astype(np.uint64) << _32
        places = np.searchsorted(self.exact, wanted)
        family = at.copy()
        inside = places < len(self.exact)
        found = self.exact[places[inside]]
        listed = np.flatnonzero(inside)[(found >> _32).astype(np.int64) == at[inside]]
        family[listed] = (self.exact[places[listed]] & _LOW).astype(np.int64)
        return family


def unite_copies(
    runs: Sequence[Run], exact: UInt64s, confirmed: Iterable[UInt64s], scored: bool,
    earlier: int = 0,
) -> Clusters:  # fmt: skip
    """Unite the exact pairs (sorted, each with its family's first) and the confirmed ones."""
    from pipeline.copies_loops import elect, unite

    documents = sum(run.count for run in runs)
    narrow = np.int32 if documents < 1 << 31 else np.int64
    roots = np.arange(documents, dtype=narrow)
    unite(roots, exact)
    for pairs in confirmed:
        unite(roots, pairs)
    survivors = np.arange(documents, dtype=narrow)
    elect(roots, _scores(runs, documents) if scored else np.zeros(0), survivors)
    newer = np.flatnonzero(survivors[:earlier] >= np.int64(earlier))
    survivors[newer] = newer  # the root of a cluster is its earliest document: that one stays
    joined = np.zeros(documents, bool)
    joined[roots[roots != np.arange(documents, dtype=narrow)]] = True
    return Clusters(runs, roots, survivors, np.flatnonzero(joined).astype(narrow), exact, earlier)


def _scores(runs: Sequence[Run], documents: int) -> npt.NDArray[np.float64]:
    """float64[N]; what has no score is below all that have one."""
    scores = np.empty(documents, np.float64)
    for run in runs:
        given = run.ids["score"].to_numpy()
        scores[run.first : run.first + run.count] = np.where(np.isnan(given), -np.inf, given)
    return scores


def doc_ids(runs: Sequence[Run], positions: Int64s) -> pa.Array:
    """The ids of documents, looked up run by run."""
    numbers = runs_of(runs, positions)
    order = np.argsort(numbers, kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order], prepend=-1, append=-1))
    parts = []
    for begin, end in pairwise(cuts):
        which = order[begin:end]
        run = runs[numbers[which[0]]]
        parts.append(run.ids["doc_id"].take(pa.array(positions[which] - run.first)))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    found = pa.chunked_array([c for part in parts for c in part.chunks]).combine_chunks()
    return found.take(pa.array(back)).cast(pa.string())
