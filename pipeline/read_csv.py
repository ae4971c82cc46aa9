"""CSV and TSV as records, RFC 4180 by Python's strict reader: a bad row costs itself.

A row may go over several lines; it is numbered by the line that it begins on. A line that is too
long is cut while it is read, and the row that it belongs to is refused; so is a row whose bytes are
not in the encoding, and one with more or fewer cells than the header.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from typing import Any

from pipeline.json_lines import whole_lines
from pipeline.read_bytes import SourceStream, chunks
from pipeline.read_lines import max_line_bytes
from pipeline.read_record import Record, Refusal, Unusable
from pipeline.read_row import check_columns, check_present, read_row, refuse_rest, refuse_row
from pipeline.sources import SourceConfig, SourceFile


class _Rows:
    """(line number, cells) of a stream; a row that cannot be had is its reason instead."""

    def __init__(self, stream: SourceStream, encoding: str | None, max_bytes: int) -> None:
        self.encoding = encoding or "utf-8"
        self.limit = max_line_bytes(max_bytes)
        self.line = self.held = 0
        self.cut = False
        self.blocks = whole_lines(self._utf8(chunks(stream)), self.limit)
        delimiter = "\t" if stream.file.suffix == ".tsv" else ","
        self.lines = self._lines()
        self.reader = csv.reader(iter(self._next_line, None), delimiter=delimiter, strict=True)

    def _utf8(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The content in UTF-8; wrong bytes stay wrong, so that they can be told by row."""
        if codecs.lookup(self.encoding).name == "utf-8":
            yield from pieces
            return
        decoder = codecs.getincrementaldecoder(self.encoding)("surrogateescape")
        try:
            for piece in pieces:
                yield decoder.decode(piece).encode("utf-8", "surrogatepass")
            yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
        except UnicodeError as error:  # a wide encoding that cannot go on
            raise Unusable("undecodable", str(error)) from error

    def _lines(self) -> Iterator[str]:
        for block in self.blocks:
            for raw in block.split(b"\n")[:-1]:
                self.line += 1
                line = raw[: self.limit]
                if len(raw) > self.limit:
                    self.cut = True
                    line += b'"' * (line.count(b'"') % 2)  # so that only this row is lost
                if self.line == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                yield line.decode("utf-8", "surrogateescape") + "\n"

    def _next_line(self) -> str | None:
        """A row of many quoted cells may go on for ever: it ends here, and reading goes on."""
        line = next(self.lines, None)
        self.held += len(line or "")
        if self.held > self.limit + 2:  # a cut line has a quote and its end besides
            self.cut = True
            raise csv.Error(f"a row of over {self.limit} characters")
        return line

    def __iter__(self) -> Iterator[tuple[int, list[str] | Unusable]]:
        while True:
            begun, self.cut, self.held = self.line + 1, False, 0
            others = csv.field_size_limit(self.limit)  # of the whole process; else 128 KiB
            try:
                cells = next(self.reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = "too_large" if "field limit" in str(error) or self.cut else "bad_csv"
                yield begun, Unusable(reason, str(error))
                continue
            finally:
                csv.field_size_limit(others)
            if self.cut:
                yield begun, Unusable("too_large", f"a line of over {self.limit} bytes")
            elif cells:
                yield begun, cells


def read_csv(source: SourceConfig, file: SourceFile, max_bytes: int) -> Iterator[Record | Refusal]:
    """The records of a file with a header."""
    line = 0
    header: list[str] | None = None
    try:
        with SourceStream(source, file) as stream:
            if file.bytes == 0 and not file.compression:
                raise Unusable("empty", "0 bytes")
            for line, cells in _Rows(stream, source.encoding, max_bytes):
                if header is None:
                    header = _header(source, cells)
                elif isinstance(cells, Unusable):
                    yield refuse_row(file.name, line, cells.reason, cells.evidence)
                else:
                    yield _read_cells(source, file.name, line, header, cells, max_bytes)
            stream.check_unchanged()
    except Unusable as verdict:
        yield refuse_rest(file.name, line, verdict)


def _header(source: SourceConfig, cells: list[str] | Unusable) -> list[str]:
    if isinstance(cells, Unusable):
        raise cells
    check_present(source, cells)
    return cells


def _read_cells(
    source: SourceConfig, name: str, line: int, header: list[str], cells: list[str], max_bytes: int
) -> Record | Refusal:
    if len(cells) != len(header):
        return refuse_row(
            name, line, "wrong_cell_count", f"{len(cells)} cells under {len(header)} columns"
        )
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    try:
        "".join(cells).encode()
    except UnicodeEncodeError as error:
        return refuse_row(name, line, "undecodable", f"not {source.encoding or 'utf-8'}: {error}")
    return read_row(source, name, line, row, max_bytes)


def check_csv(source: SourceConfig, file: SourceFile) -> bool:
    """Whether the file could be looked into; InputError where it lacks a mapped column."""
    try:
        with SourceStream(source, file) as stream:
            for _, cells in _Rows(stream, source.encoding, 1_000_000):
                if isinstance(cells, Unusable):
                    return False
                check_columns(source, file.name, cells)
                return True
    except Unusable:
        pass
    return False
