"""What a filter is trained and judged on: labelled documents, and a sample of the whole corpus.

Labels are joined to documents on `doc_id` alone, in one pass over the corpus. The sample is
uniform over documents (the labelled ones are not: they were drawn by strata), so it tells what
share of the corpus a threshold keeps, and what words the corpus has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.leakage import Leakage, part_fairly
from pipeline.records import read_batches, read_rows

Row = dict[str, Any]
_COLUMNS = ["doc_id", "text", "kind", "source", "group", "url_or_path"]
_MAX_SAMPLED_TEXT_CHARS = 200_000  # a longer text tells little more about words and scores


@dataclass(frozen=True)
class Material:
    """Rows of `_COLUMNS`, those of labelled documents with `score` and `justification` too.

    Those of the sample have `n_bytes`, the size of the whole text, though their text may be cut.
    `dropped` counts the labels that cannot be used, by reason.
    """

    train: list[Row]
    test: list[Row]
    sample: list[Row]
    corpus_documents: int
    corpus_bytes: int
    leakage: Leakage
    annotators: list[str]
    rows_in: int
    dropped: Mapping[str, int]


def read_material(
    stage: str, documents: list[Path], labels: Path, sampled: int, rng: np.random.Generator
) -> Material:
    """Join labels to documents, draw the sample, and part train from test."""
    label_of: dict[str, Row] = {}
    dropped: Counter[str] = Counter()
    annotators, rows_in = set(), 0
    for label in read_rows([labels]):
        rows_in += 1
        annotators.add(label["annotator"])
        if label["score"] is None:
            dropped["unlabelled"] += 1
        elif label["doc_id"] in label_of:
            dropped["labelled_before"] += 1
        else:
            label_of[label["doc_id"]] = label
    corpus = _read_documents(documents, set(label_of), sampled, rng)
    dropped["document_not_found"] += len(label_of) - len(corpus.labelled)
    joined = [_joined(document, label_of[document["doc_id"]]) for document in corpus.labelled]
    train = [row for row in joined if row["split"] == "train"]
    held_out = [row for row in joined if row["split"] != "train"]
    test, leakage = part_fairly(stage, held_out, train)
    dropped["near_copy_across_split"] += leakage.near_copies_left_out
    return Material(
        train, test, corpus.sample, corpus.documents, corpus.n_bytes, leakage,
        sorted(annotators), rows_in, +dropped,
    )  # fmt: skip


def texts_of(rows: list[Row]) -> pa.Array:
    """Their texts as Arrow keeps them."""
    return pa.array([row["text"] for row in rows], pa.large_string())


def kinds_of(rows: list[Row]) -> pa.Array:
    """Their kinds as Arrow keeps them."""
    return pa.array([row["kind"] for row in rows], pa.string())


def scores_of(rows: list[Row]) -> npt.NDArray[np.int64]:
    """Their labels, 0 to 5."""
    return np.array([row["score"] for row in rows], np.int64)


def groups_of(rows: list[Row]) -> npt.NDArray[np.object_]:
    """What they were split by."""
    return np.array([row["group"] for row in rows], object)


@dataclass(frozen=True)
class _Corpus:
    """The labelled documents and the sample, in reading order, and the size of it all."""

    labelled: list[Row]
    sample: list[Row]
    documents: int
    n_bytes: int


def _read_documents(
    paths: list[Path], wanted: set[str], sampled: int, rng: np.random.Generator
) -> _Corpus:
    """One pass; only labelled and sampled documents become Python objects."""
    total = sum(pq.read_metadata(path).num_rows for path in paths)
    drawn = np.zeros(total, bool)
    drawn[rng.choice(total, min(sampled, total), replace=False, shuffle=False)] = True
    ids = pa.array(sorted(wanted), pa.string())
    found: list[Row] = []
    sample: list[Row] = []
    n_bytes = 0
    for start, batch in _numbered(read_batches(paths, _COLUMNS)):
        sizes = pc.binary_length(batch["text"])
        n_bytes += pc.sum(sizes).as_py() or 0
        found += batch.filter(pc.is_in(batch["doc_id"], value_set=ids)).to_pylist()
        chosen = pa.array(drawn[start : start + len(batch)])
        rows, of_rows = batch.filter(chosen).to_pylist(), sizes.filter(chosen).to_pylist()
        sample += [
            {**row, "text": _cut(row["text"]), "n_bytes": size}
            for row, size in zip(rows, of_rows, strict=True)
        ]
    return _Corpus(found, sample, total, n_bytes)


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in batches:
        yield start, batch
        start += len(batch)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SAMPLED_TEXT_CHARS else text[:_MAX_SAMPLED_TEXT_CHARS]


def _joined(document: Row, label: Row) -> Row:
    return {**document, **{name: label[name] for name in ("score", "split", "justification")}}
