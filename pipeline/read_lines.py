"""JSON lines as records: a bad line costs itself, and a line is cut while it is read if too long.

The lines come in blocks; a block is the only thing held. Rows are numbered as lines are in an
editor, from 1, blank ones counted though they are no records.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pipeline.json_lines import BadLine, parse_line, whole_lines
from pipeline.read_bytes import CHUNK_BYTES, SourceStream, chunks
from pipeline.read_record import Record, Refusal, Unusable
from pipeline.read_row import check_columns, read_row, refuse_rest, refuse_row
from pipeline.sources import SourceConfig, SourceFile

_CHECKED_LINES, _CHECKED_CHUNKS = 100, 4


def read_lines(
    source: SourceConfig, file: SourceFile, max_bytes: int
) -> Iterator[Record | Refusal]:
    """The records of a file of JSON lines."""
    row = 0
    try:
        with SourceStream(source, file) as stream:
            if file.bytes == 0 and not file.compression:
                raise Unusable("empty", "0 bytes")
            limit = max_line_bytes(max_bytes)
            for block in whole_lines(chunks(stream), limit):
                for line in block.split(b"\n")[:-1]:
                    row += 1
                    if line and not line.isspace():
                        yield _read_line(source, file.name, row, line, max_bytes)
            stream.check_unchanged()
    except Unusable as verdict:
        yield refuse_rest(file.name, row, verdict)


def max_line_bytes(max_document_bytes: int) -> int:
    r"""Room for a text whose every byte is written as \u0000, and for the other fields."""
    return 6 * max_document_bytes + (1 << 20)


def _read_line(
    source: SourceConfig, name: str, row: int, line: bytes, max_bytes: int
) -> Record | Refusal:
    if len(line) > max_line_bytes(max_bytes):
        limit = max_line_bytes(max_bytes)
        return refuse_row(name, row, "too_large", f"a line of over {limit} bytes")
    try:
        return read_row(source, name, row, parse_line(line), max_bytes)
    except BadLine as verdict:
        return refuse_row(name, row, verdict.reason, verdict.evidence)


def check_lines(source: SourceConfig, file: SourceFile) -> bool:
    """Whether the file could be looked into; InputError where no early line has a mapped field."""
    known: set[str] = set()
    try:
        with SourceStream(source, file) as stream:
            start = islice(chunks(stream), _CHECKED_CHUNKS)
            for block in islice(whole_lines(start, CHUNK_BYTES), 1):
                for line in block.split(b"\n")[:_CHECKED_LINES]:
                    try:
                        known |= set(parse_line(line))
                    except BadLine:
                        continue
    except Unusable:
        return False
    if known:
        check_columns(source, file.name, known)
    return bool(known)
