"""The records that pass between stages, as Arrow schemas, and the one way to write them.

A document is never changed by a later stage: labels and scores are tables of their own, joined
on `doc_id` alone. `group` is the repository, package or site that a document belongs to: splits
never cut through one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 4_000  # large enough for batched scoring, small enough for flat memory

DOCUMENT = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # "web" or "code"
        pa.field("source", pa.string(), nullable=False),  # the source's name in the recipe
        pa.field("group", pa.string(), nullable=False),
        pa.field("url_or_path", pa.string(), nullable=False),
        pa.field("licence", pa.string()),  # null where unknown, never guessed
        pa.field("language", pa.string()),  # "en", "python"; null where unknown
        pa.field("origin", pa.string(), nullable=False),  # "human" or "synthetic"
        pa.field("metadata", pa.string(), nullable=False),  # a JSON object
    ]
)

REJECT = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("url_or_path", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),  # row or line from 1; byte in archives; null: a whole file
        pa.field("reason", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
    ]
)

DROPPED = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),  # as pipeline.pretokens counts them
    ]
)

LABEL = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("annotator", pa.string(), nullable=False),  # model name and what it is, or a human
        pa.field("rubric", pa.string(), nullable=False),  # name@version#hash
        pa.field("score", pa.int8()),  # 0 to 5; null where unlabelled
        pa.field("justification", pa.string()),
        pa.field("unlabelled_reason", pa.string()),
        pa.field("split", pa.string(), nullable=False),  # "train" or "test", by group
        pa.field("raw_answer", pa.string()),
    ]
)

OPINION = pa.schema(  # every answer of every annotator; labels are made of them
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("annotator", pa.string(), nullable=False),
        pa.field("rubric", pa.string(), nullable=False),
        pa.field("score", pa.int8()),
        pa.field("justification", pa.string()),
        pa.field("unlabelled_reason", pa.string()),
        pa.field("raw_answer", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("completion_tokens", pa.int32(), nullable=False),
    ]
)

SCORE = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),  # probability of the positive class
        pa.field("expected_score", pa.float32(), nullable=False),  # 0 to 5
        pa.field("keep", pa.bool_(), nullable=False),
    ]
)

SYNTHETIC_REJECT = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
        pa.field("draw", pa.string(), nullable=False),  # a JSON object
        pa.field("text", pa.string()),  # null where there was no answer, or a refusal
    ]
)


def make_doc_id(source: str, url_or_path: str, text: str) -> str:
    """A stable id (24 hex digits): the hash of the address within the source and the content."""
    digest = hashlib.sha256()
    for part in (source, url_or_path, text):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\x00")
    return digest.hexdigest()[:24]


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows in their order as one Parquet file, and return how many there were."""
    written = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[Mapping[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == ROWS_PER_GROUP:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                written, batch = written + len(batch), []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
    return written + len(batch)


def read_batches(
    paths: Iterable[Path], columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Record batches of at most `ROWS_PER_GROUP` rows, file after file, in the given order."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=ROWS_PER_GROUP, columns=columns)


def read_rows(paths: Iterable[Path], columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries, in the given order. For small tables; hot paths read batches."""
    for batch in read_batches(paths, columns):
        yield from batch.to_pylist()
