"""Rows of a Parquet file as records, by row groups, in memory that a small file cannot blow up.

Pages are read one by one and the text column stays a dictionary, so a value that stands a million
times is held once. A row group that cannot be read costs itself and no other. Without its footer
(a file that was cut off) nothing of a Parquet file can be read: that is its format.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.addresses import describe
from pipeline.errors import InputError, StageError
from pipeline.read_bytes import BOMB_BYTES, BOMB_RATIO, SourceStream
from pipeline.read_record import Record, Refusal, Unusable
from pipeline.read_row import check_columns, check_present, read_row, refuse_row
from pipeline.sources import SourceConfig, SourceFile

GROUP_BYTES = 256 << 20  # row groups of a file are dealt out in parts of about so many
_BATCH_ROWS, _BATCH_BYTES = 1_000, 32 << 20
_MAGIC = b"PAR1"
Part = tuple[int, int]  # the row groups of a shard's part: from, and up to but without


def read_parquet(
    source: SourceConfig, file: SourceFile, part: Part | None, max_bytes: int
) -> Iterator[Record | Refusal]:
    """The records of a file, or of a part of its row groups; rows are numbered in the file."""
    try:
        with SourceStream(source, file, cache="none") as stream:
            parquet = _open(source, stream)
            groups = range(*(part or (0, parquet.num_row_groups)))
            first = 1 + sum(_rows_of(parquet, i) for i in range(groups.start))
            if groups.start == 0 and parquet.metadata.num_rows == 0:
                raise Unusable("empty", "0 rows")
            check_present(source, parquet.schema_arrow.names)
            for i in groups:
                yield from _read_group(source, file, parquet, i, first, max_bytes)
                first += _rows_of(parquet, i)
            stream.check_unchanged()
    except Unusable as verdict:
        yield verdict.refuse(file.name)


def _open(source: SourceConfig, stream: SourceStream) -> pq.ParquetFile:
    if stream.file.bytes == 0:
        raise Unusable("truncated", "0 bytes are no Parquet file")
    head = stream.read(4)
    if head != _MAGIC:
        raise Unusable("wrong_magic", f"it begins with {head!r}, not with {_MAGIC!r}")
    stream.seek(max(stream.file.bytes - 4, 4))
    if stream.read(4) != _MAGIC:
        raise Unusable("truncated", "its end is cut off, and the list of its row groups with it")
    with _verdicts():
        parquet = _parquet_file(stream)
        schema, name = parquet.schema_arrow, source.fields.text
        if schema.names.count(name) == 1 and _is_text(schema.field(name).type):
            parquet = _parquet_file(
                stream, metadata=parquet.metadata, read_dictionary=[source.fields.text]
            )
        return parquet


def _parquet_file(stream: SourceStream, **options: Any) -> pq.ParquetFile:
    opened = pa.PythonFile(stream, "r")
    return pq.ParquetFile(opened, buffer_size=1 << 20, pre_buffer=False, **options)


@contextmanager
def _verdicts() -> Iterator[None]:
    try:
        yield
    except (StageError, Unusable):
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise Unusable("damaged", describe(error)) from error


def _rows_of(parquet: pq.ParquetFile, i: int) -> int:
    return int(parquet.metadata.row_group(i).num_rows)


def _read_group(
    source: SourceConfig, file: SourceFile, parquet: pq.ParquetFile, i: int, first: int,
    max_bytes: int,
) -> Iterator[Record | Refusal]:  # fmt: skip
    number = first
    columns = sorted(set(source.fields.columns.values()))
    try:
        group = parquet.metadata.row_group(i)
        _refuse_bomb(group)
        row_bytes = max(group.total_byte_size // max(group.num_rows, 1), 1)
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes))
        batches = parquet.iter_batches(rows, row_groups=[i], columns=columns, use_threads=False)
        while True:
            with _verdicts():
                batch = next(batches, None)
            if batch is None:
                return
            for row in range(batch.num_rows):
                yield _read_values(source, file.name, number, batch, row, max_bytes)
                number += 1
    except Unusable as verdict:
        last = first + _rows_of(parquet, i) - 1
        lost = f"rows {number:,} to {last:,} (row group {i}): {verdict.evidence}"
        yield Unusable(verdict.reason, lost).refuse(f"{file.name}:{number}", number)


def _refuse_bomb(group: Any) -> None:
    for j in range(group.num_columns):
        column = group.column(j)
        inflated, stored = column.total_uncompressed_size, column.total_compressed_size
        if inflated > max(BOMB_BYTES, BOMB_RATIO * stored):
            raise Unusable("inflates_too_much", f"{stored:,} bytes would give {inflated:,}")


def _read_values(
    source: SourceConfig, name: str, number: int, batch: pa.RecordBatch, row: int, max_bytes: int
) -> Record | Refusal:
    try:
        values = {
            column: batch.column(j)[row].as_py() for j, column in enumerate(batch.schema.names)
        }
    except (ValueError, OverflowError) as error:
        return refuse_row(name, number, "undecodable", str(error))
    text = values.get(source.fields.text)
    if isinstance(text, bytes):  # a binary column, as some writers store text
        try:
            values[source.fields.text] = text.decode()
        except UnicodeDecodeError as error:
            return refuse_row(name, number, "undecodable", str(error))
    return read_row(source, name, number, values, max_bytes)


def check_parquet(source: SourceConfig, file: SourceFile) -> bool:
    """Whether the file could be looked into; InputError where its columns are not as mapped."""
    try:
        with SourceStream(source, file, cache="none") as stream:
            schema = _open(source, stream).schema_arrow
    except Unusable:
        return False
    check_columns(source, file.name, schema.names)
    kind = schema.field(source.fields.text).type
    if not _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise InputError(
            "ingest",
            f"source {source.name!r}: column {source.fields.text!r} of {file.name} is of type "
            f"{kind}, not string",
            "correct ingest.sources.fields.text",
        )
    return True


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary,
             types.is_large_binary, types.is_binary_view)  # fmt: skip
    return any(test(kind) for test in tests)


def split_groups(source: SourceConfig, file: SourceFile) -> list[tuple[Part | None, int]]:
    """(row groups, bytes) of the parts of a file that shards may read apart, in order.

    It depends on the file alone. A file that cannot be opened is one part, and fails where it is
    read.
    """
    if file.bytes <= GROUP_BYTES:
        return [(None, file.bytes)]
    try:
        with SourceStream(source, file, cache="none") as stream:
            metadata = _open(source, stream).metadata
    except Unusable:
        return [(None, file.bytes)]
    parts: list[tuple[Part | None, int]] = []
    begun = held = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        held += sum(group.column(j).total_compressed_size for j in range(group.num_columns))
        if held >= GROUP_BYTES or i == metadata.num_row_groups - 1:
            parts.append(((begun, i + 1), held))
            begun, held = i + 1, 0
    return parts or [(None, file.bytes)]
