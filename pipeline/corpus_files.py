"""Any corpus as batches of documents: Parquet or JSON lines, here or at an fsspec address.

Parquet is read page by page, never a whole row group, and in batches of about as many bytes
whatever the rows' size, so memory is flat in the size of the file and of its row groups. A file
that cannot be read to its end fails as a whole: a cut-off stream never reads as fewer rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.address_listing import find_files
from pipeline.addresses import describe, file_system, local_path
from pipeline.document_batch import Batch, Fields, fill_kinds, make_ids, sift
from pipeline.errors import InputError
from pipeline.json_lines import BLOCK_BYTES, read_json_lines
from pipeline.records import ROWS_PER_GROUP

BATCH_BYTES = 32 << 20  # 4,000 documents of 8 kB
LOCAL_READ_BYTES, REMOTE_READ_BYTES = 1 << 20, 4 << 20  # of one column at a time
COMPRESSIONS = {".jsonl": None, ".jsonl.zst": "zstd", ".jsonl.gz": "gzip"}
PARQUET = ".parquet"


class UnreadableFile(Exception):  # noqa: N818  # a verdict on one file, not an error of the program
    """A file that cannot be read to its end; the message is one line with its address."""


@dataclass(frozen=True)
class CorpusFile:
    """One file of a corpus; `stamp` changes when its content does."""

    address: str
    name: str  # relative to the address that was given, with slashes
    bytes: int
    stamp: str

    @property
    def suffix(self) -> str:
        """One of the suffixes that are read; empty for another file."""
        return next((s for s in (PARQUET, *COMPRESSIONS) if self.name.endswith(s)), "")


@dataclass(frozen=True)
class Documents:
    """An opened file: its batches, and the schema of their rows (None where they are lines)."""

    schema: pa.Schema | None
    batches: Iterator[Batch]


def list_corpus(stage: str, addresses: Iterable[str]) -> list[CorpusFile]:
    """The files under directories, globs and plain addresses, sorted by name; else InputError."""
    found: dict[str, CorpusFile] = {}
    for address in addresses:
        files = [file for file in _list(stage, address) if file.suffix]
        if not files:
            raise InputError(
                stage,
                f"no file at {address} ends with {', '.join((PARQUET, *COMPRESSIONS))}",
                "give a directory, a glob or a file",
            )
        for file in files:
            other = found.setdefault(file.name, file)
            if other.address != file.address:
                raise InputError(
                    stage,
                    f"{other.address} and {file.address} would both be written as {file.name}",
                    "give the directory that holds both",
                )
    return [found[name] for name in sorted(found)]


def _list(stage: str, address: str) -> Iterator[CorpusFile]:
    try:
        fs, _ = file_system(address)
        files = list(find_files(address))
    except Exception as error:  # every file system has errors of its own
        raise InputError(
            stage,
            f"{address} cannot be listed ({describe(error)})",
            "correct the address, or the credentials and the endpoint in the environment",
        ) from error
    for name, place, facts in files:
        stamps = (facts.get(k) for k in ("ETag", "mtime", "LastModified", "created"))
        stamp = next((str(s) for s in stamps if s is not None), "")
        full = place if local_path(address) else fs.unstrip_protocol(place)
        yield CorpusFile(full, name, int(facts["size"] or 0), stamp)


@contextmanager
def open_documents(
    file: CorpusFile, fields: Fields, max_document_bytes: int
) -> Iterator[Documents]:
    """Open a file of any supported format; UnreadableFile now or while its batches are read."""
    with _verdicts(file):
        source = _open(file)
    with source:
        if file.suffix != PARQUET:
            lines = _decompressed(file, source)
            batches = read_json_lines(lines, file.name, fields, max_document_bytes)
            yield Documents(None, _guarded(file, batches))
            return
        with _verdicts(file):
            parquet = open_parquet(source, REMOTE_READ_BYTES)
            for name in fields.names:
                _check_column(parquet.schema_arrow, name)
        batches = _parquet_batches(file.name, parquet, fields, max_document_bytes)
        yield Documents(parquet.schema_arrow, _guarded(file, batches))


def _open(file: CorpusFile) -> pa.NativeFile:
    path = local_path(file.address)
    if path is not None:
        return pa.OSFile(str(path))
    fs, place = file_system(file.address)
    # Columns lie apart, and reading ahead from one to the next would read everything many times.
    cache = "none" if file.suffix == PARQUET else "readahead"
    return pa.PythonFile(fs.open(place, "rb", block_size=BLOCK_BYTES, cache_type=cache), "r")


def _decompressed(file: CorpusFile, source: pa.NativeFile) -> pa.NativeFile:
    compression = COMPRESSIONS[file.suffix]
    if compression is None:
        return source
    if file.bytes == 0:
        raise UnreadableFile(f"{file.address}: 0 bytes are no {compression} stream")
    return pa.CompressedInputStream(source, compression)


@contextmanager
def _verdicts(file: CorpusFile) -> Iterator[None]:
    try:
        yield
    except UnreadableFile:
        raise
    except Exception as error:  # what damaged bytes and lost connections raise has many types
        raise UnreadableFile(f"{file.address}: {describe(error)}") from error


def _guarded(file: CorpusFile, batches: Iterator[Batch]) -> Iterator[Batch]:
    documents = 0
    try:
        for batch in batches:
            documents += len(batch.texts)
            yield batch
    except Exception as error:
        after = f"after {documents:,} documents"
        raise UnreadableFile(f"{file.address}: {describe(error)}, {after}") from error


def open_parquet(source: Any, read_bytes: int = LOCAL_READ_BYTES) -> pq.ParquetFile:
    """A Parquet file that is read piece by piece; without `pre_buffer`, no row group is held."""
    return pq.ParquetFile(source, buffer_size=read_bytes, pre_buffer=False)


def record_batches(
    parquet: pq.ParquetFile, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """All rows, in batches of about BATCH_BYTES and at most ROWS_PER_GROUP rows."""
    groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
    row_bytes = max((g.total_byte_size / g.num_rows for g in groups if g.num_rows), default=1)
    size = min(ROWS_PER_GROUP, max(1, int(BATCH_BYTES / max(row_bytes, 1))))
    yield from parquet.iter_batches(batch_size=size, columns=columns, use_threads=False)


def _check_column(schema: pa.Schema, name: str) -> None:
    if schema.get_field_index(name) < 0:
        raise KeyError(f"it has no column {name}, but {', '.join(schema.names)}")


def _parquet_batches(
    name: str, parquet: pq.ParquetFile, fields: Fields, max_document_bytes: int
) -> Iterator[Batch]:
    row = 1
    for rows in record_batches(parquet):
        numbers = pa.array(np.arange(row, row + len(rows)))
        kinds = None if fields.kind_field is None else rows[fields.kind_field]
        ids = None if fields.id is None else rows[fields.id]
        batch = Batch(
            rows,
            plain_text(rows[fields.text]),
            fill_kinds(kinds, fields, len(rows)),
            make_ids(ids, name, numbers),
        )
        yield sift(batch, numbers, max_document_bytes)
        row += len(rows)


def plain_text(column: pa.Array) -> pa.Array:
    """Text of any Arrow type as string or large_string, whose bytes are not copied."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_dictionary(kind) and (
        pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)
    ):
        return column.dictionary_decode()
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    raise TypeError(f"its text is of type {kind}, not string")
