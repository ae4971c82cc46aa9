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
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.near_copies import NearCopies, signature
from pipeline.records import read_batches, read_rows

Row = dict[str, Any]
_COLUMNS = ["doc_id", "text", "kind", "source", "group", "url_or_path"]
_MAX_SAMPLED_TEXT_BYTES = 200_000  # a longer text tells little more about words and scores


@dataclass(frozen=True)
class Material:
    """Rows of `_COLUMNS`, those of labelled documents with `score` and `justification` too.

    `dropped` counts the labels that cannot be used, by reason.
    """

    train: list[Row]
    test: list[Row]
    sample: list[Row]
    annotators: list[str]
    rows_in: int
    dropped: Mapping[str, int]


def read_material(
    documents: list[Path], labels: Path, sampled: int, rng: np.random.Generator
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
    found, sample = _read_documents(documents, set(label_of), sampled, rng)
    dropped["document_not_found"] += len(label_of) - len(found)
    joined = [_joined(document, label_of[document["doc_id"]]) for document in found]
    train = [row for row in joined if row["split"] == "train"]
    test, twins = _without_twins([row for row in joined if row["split"] != "train"], train)
    dropped["near_copy_across_split"] += twins
    return Material(train, test, sample, sorted(annotators), rows_in, +dropped)


def texts_of(rows: list[Row]) -> pa.Array:
    """Their texts as Arrow keeps them."""
    return pa.array([row["text"] for row in rows], pa.large_string())


def kinds_of(rows: list[Row]) -> pa.Array:
    """Their kinds as Arrow keeps them."""
    return pa.array([row["kind"] for row in rows], pa.string())


def _read_documents(
    paths: list[Path], wanted: set[str], sampled: int, rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """(the labelled documents, the sample), in reading order; only these become Python objects."""
    total = sum(pq.read_metadata(path).num_rows for path in paths)
    drawn = np.zeros(total, bool)
    drawn[rng.choice(total, min(sampled, total), replace=False, shuffle=False)] = True
    ids = pa.array(sorted(wanted), pa.string())
    found: list[Row] = []
    sample: list[Row] = []
    for start, batch in _numbered(read_batches(paths, _COLUMNS)):
        labelled = pc.is_in(batch["doc_id"], value_set=ids)
        found += batch.filter(labelled).to_pylist()
        chosen = batch.filter(pa.array(drawn[start : start + len(batch)]))
        sample += [{**row, "text": _cut(row["text"])} for row in chosen.to_pylist()]
    return found, sample


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in batches:
        yield start, batch
        start += len(batch)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SAMPLED_TEXT_BYTES else text[:_MAX_SAMPLED_TEXT_BYTES]


def _joined(document: Row, label: Row) -> Row:
    return {**document, **{name: label[name] for name in ("score", "split", "justification")}}


def _without_twins(test: list[Row], train: list[Row]) -> tuple[list[Row], int]:
    """The test rows that are no near copy of a training row, and how many were."""
    copies = NearCopies()
    for row in train:
        copies.add(row["doc_id"], signature(row["text"]))
    fair = [row for row in test if copies.twin_of(signature(row["text"])) is None]
    return fair, len(test) - len(fair)
