"""Counting documents into a reference's bins while they are scored, and keeping some to label.

Which documents are counted is decided by a hash of the file's name and of the document's place in
it: about one in `every`, whatever the batches, shards, workers and machines, and whatever pattern
the rows follow. The hash also ranks them: those of a stratum with the smallest are a uniform sample
of it. Counts of files add up to counts of the whole.

What it costs: a hash a document, 0.5 microseconds a counted one, and the memory of one histogram
and of `kept` rows without text for each stratum, of which there are at most MOST_STRATA.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.document_batch import Batch
from pipeline.drift_reference import MARK_CHARS, drift_columns

if TYPE_CHECKING:
    from classifiers.drift import Reference

MOST_STRATA = 32  # further sources are counted as their kind
_ADDRESSES = ("url_or_path", "url", "path")
_TOP = 2**64 - 1
_AT_ONCE = 2_000  # rows; a stratum's loop over the bins costs as much for ten rows as for a hundred

Matrix = npt.NDArray[np.float32]
Row = dict[str, Any]


class DriftCount:
    """What was counted in one file, or in all: histograms and the first rows, by stratum."""

    def __init__(self, reference: Reference, file: str, every: int, kept: int) -> None:
        self.bins, self.every, self.kept = reference.bins, every, kept
        self.histograms: dict[str, npt.NDArray[np.int64]] = {}
        self.first: dict[str, list[Row]] = {}  # by rank
        self._seen = pa.array(sorted(reference.seen), pa.string())
        self._place = int.from_bytes(hashlib.sha256(file.encode()).digest()[:8], "big")
        self._waiting: list[tuple[pa.RecordBatch, Matrix]] = []

    def add(self, batch: Batch, features: Matrix, score: Matrix, expected: Matrix) -> None:
        """Take in some of a batch: float32[N, F + 1] features, and both scores."""
        ranks = _mix(np.arange(len(score), dtype=np.uint64) + np.uint64(self._place))
        self._place = (self._place + len(score)) & _TOP
        chosen = np.flatnonzero(ranks <= np.uint64(_TOP // self.every))
        columns = drift_columns(features[chosen], score[chosen], expected[chosen])
        self._waiting.append((_described(batch, chosen, ranks[chosen], columns[:, -2]), columns))
        if sum(len(rows) for rows, _ in self._waiting) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Count what was taken in; before, the histograms lack it."""
        if not self._waiting:
            return
        rows = pa.Table.from_batches([rows for rows, _ in self._waiting]).combine_chunks()
        columns = np.concatenate([columns for _, columns in self._waiting])
        self._waiting = []
        marks = pc.utf8_slice_codeunits(rows["doc_id"], 0, MARK_CHARS)
        new = ~pc.is_in(marks, value_set=self._seen).to_numpy()
        rows, columns = rows.filter(pa.array(new)), columns[new]
        named = pc.binary_join_element_wise(rows["source"], rows["kind"], "/")
        strata = pc.coalesce(named, rows["kind"]).combine_chunks().dictionary_encode()
        of_row = strata.indices.to_numpy()
        for i, name in enumerate(strata.dictionary.to_pylist()):
            stratum, places = self._stratum(name), np.flatnonzero(of_row == i)
            self.histograms[stratum] += self.bins.count(columns[places])
            by_rank = np.argsort(rows["rank"].to_numpy()[places])[: self.kept]
            self._keep(stratum, rows.take(places[by_rank]).to_pylist())

    def _stratum(self, name: str) -> str:
        if name not in self.histograms and len(self.histograms) >= MOST_STRATA:
            name = name.rsplit("/", 1)[-1]
        if name not in self.histograms:
            self.histograms[name] = np.zeros(self.bins.shape, np.int64)
            self.first[name] = []
        return name

    def _keep(self, stratum: str, rows: list[Row]) -> None:
        ranked = sorted([*self.first[stratum], *rows], key=lambda row: (row["rank"], row["doc_id"]))
        self.first[stratum] = ranked[: self.kept]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        self.flush()
        strata = {
            name: {"counts": counts.tolist(), "first": self.first[name]}
            for name, counts in self.histograms.items()
        }
        path.write_text(json.dumps(strata, separators=(",", ":")) + "\n")

    def add_json(self, strata: Mapping[str, Any]) -> None:
        """Add what was saved for a file; files must come in one order, that of their names."""
        for name, saved in strata.items():
            stratum = self._stratum(name)
            self.histograms[stratum] += np.array(saved["counts"], np.int64)
            self._keep(stratum, saved["first"])


def add_saved(
    reference: Reference, files: Iterable[Mapping[str, Any]], every: int, kept: int
) -> DriftCount:
    """The sum of what was saved for files, in the order of their names."""
    whole = DriftCount(reference, "", every, kept)
    for saved in files:
        whole.add_json(saved)
    return whole


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Splitmix64, whose values for 1, 2, 3 ... pass for random (Steele, Lea and Flood, 2014)."""
    z = numbers * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _described(
    batch: Batch, rows: npt.NDArray[np.int64], ranks: npt.NDArray[np.uint64], score: Matrix
) -> pa.RecordBatch:
    """What is kept of a document to be labelled next, of these rows of a batch."""
    return pa.record_batch({
        "rank": ranks,
        "doc_id": batch.ids.take(rows).cast(pa.string()),
        "source": _texts(batch, ("source",), rows),
        "kind": batch.kinds.take(rows).cast(pa.string()),
        "url_or_path": _texts(batch, _ADDRESSES, rows),
        "score": score,
    })  # fmt: skip


def _texts(batch: Batch, names: tuple[str, ...], rows: npt.NDArray[np.int64]) -> pa.StringArray:
    """The first of these columns that is there and holds text; else nulls."""
    if isinstance(batch.rows, pa.RecordBatch):
        for name in names:
            if batch.rows.schema.get_field_index(name) < 0:
                continue
            column = batch.rows[name]
            kind = column.type
            if pa.types.is_dictionary(kind):
                kind = kind.value_type
            if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                return column.take(rows).cast(pa.string())
    return pa.nulls(len(rows), pa.string())
