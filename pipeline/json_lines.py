"""JSON lines as batches: parsed by Arrow in blocks of whole lines, so a good line costs no object.

Only the asked fields are parsed; the lines themselves are an Arrow array over the block's bytes,
and a kept line is written as it came. Where Arrow cannot read a block, or one line may not be one
object, the block is read line by line, so that a bad line costs itself alone. Memory is that of a
block: a longer line is cut while it is read, and fails as too large. Blank lines are no documents.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from pipeline.document_batch import Batch, Fault, Fields, fill_kinds, make_ids, sift
from pipeline.records import ROWS_PER_GROUP
from pipeline.rejected import Rejected

BLOCK_BYTES = 8 << 20
_OPEN, _CLOSE, _RETURN, _NEWLINE = b"{}\r\n"


class BadLine(Rejected):
    """A line that is no document."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(reason, evidence[:200])


def whole_lines(chunks: Iterable[bytes], max_line_bytes: int) -> Iterator[bytes]:
    """Blocks of whole lines, each ended by a newline.

    A line that goes on over chunks and is longer than `max_line_bytes` is cut to one byte more.
    """
    begun = bytearray()
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        room = max(max_line_bytes + 1 - len(begun), 0)
        if end == 0:
            begun += chunk[:room]
            continue
        if begun:
            first = chunk.index(b"\n")
            yield b"".join((begun, chunk[: min(first, room)], chunk[first:end]))
        else:
            yield chunk[:end]
        begun = bytearray(chunk[end : end + max_line_bytes + 1])
    if begun:
        yield bytes(begun) + b"\n"


def split_lines(block: bytes) -> pa.LargeBinaryArray:
    """The lines of a block with their newlines, over the block's own bytes."""
    content = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(content == _NEWLINE) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.large_binary(), len(ends), buffers)


def parse_line(line: bytes) -> dict[str, Any]:
    """The object on a line; BadLine with the reason where it holds none."""
    import orjson

    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = _parse_patiently(line)
    if not isinstance(found, dict):
        raise BadLine("not_an_object", f"a {type(found).__name__}")
    return found


def _parse_patiently(line: bytes) -> Any:
    """What orjson refuses and may still be a document (NaN), or the reason why it is none."""
    try:
        found = json.loads(line.decode("utf-8-sig"))
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise BadLine("invalid_utf8", str(error)) from error
    except UnicodeEncodeError as error:
        raise BadLine("lone_surrogate", str(error)) from error
    except RecursionError as error:
        raise BadLine("bad_json", "nested too deeply") from error
    except ValueError as error:
        raise BadLine("bad_json", str(error)) from error
    return found


def text_of(row: dict[str, Any], field: str) -> str:
    """The text in a row; BadLine where there is none."""
    text = row.get(field)
    if text is None:
        raise BadLine(
            "no_text", f"no {field!r} among {sorted(row)}" if field not in row else "null"
        )
    if not isinstance(text, str):
        raise BadLine("text_not_a_string", f"a {type(text).__name__}")
    return text


def read_json_lines(
    stream: io.IOBase | pa.NativeFile, name: str, fields: Fields, max_document_bytes: int
) -> Iterator[Batch]:
    """Batches of the documents on a stream of lines; `name` makes the ids where there are none."""
    reader, row = _Blocks(name, fields, max_document_bytes), 1
    chunks = iter(lambda: stream.read(BLOCK_BYTES), b"")
    for block in whole_lines(chunks, max_document_bytes):
        lines = split_lines(block)
        yield from reader.batches(block, lines, row)
        row += len(lines)


class _Blocks:
    """Reads blocks; it remembers whether the ids are numbers, which Arrow wants to be told."""

    def __init__(self, name: str, fields: Fields, max_document_bytes: int) -> None:
        self.name, self.fields, self.max_document_bytes = name, fields, max_document_bytes
        self.id_types = [pa.string(), pa.int64()] if fields.id else [pa.string()]

    def batches(self, block: bytes, lines: pa.Array, row: int) -> Iterator[Batch]:
        numbers = pa.array(np.arange(row, row + len(lines)))
        batch = self._at_once(block, lines, numbers)
        if batch is None:
            batch, numbers = self._line_by_line(lines, row)
        faults = batch.faults
        for i in range(0, len(batch.texts), ROWS_PER_GROUP):
            part = slice(i, i + ROWS_PER_GROUP)
            some = Batch(batch.rows[part], batch.texts[part], batch.kinds[part], batch.ids[part])
            yield sift(replace(some, faults=faults), numbers[part], self.max_document_bytes)
            faults = ()
        if faults:
            yield batch

    def _at_once(self, block: bytes, lines: pa.Array, numbers: pa.Array) -> Batch | None:
        """None where Arrow cannot read the block, or a line may not be exactly one object."""
        if not self._one_object_a_line(block, lines):
            return None
        for id_type in self.id_types:
            try:
                table = parse_block(block, self._schema(id_type))
            except pa.ArrowInvalid:
                continue
            if table.num_rows != len(lines):
                return None
            self.id_types.sort(key=lambda known: known != id_type)
            columns = dict(zip(table.column_names, table.combine_chunks().columns, strict=True))
            found = {field: column.chunk(0) for field, column in columns.items()}
            return self._batch(lines, found, numbers)
        return None

    def _one_object_a_line(self, block: bytes, lines: pa.Array) -> bool:
        """Whether every line begins with { and ends with }.

        No object spans two such lines, as no object goes on with a {: so when there are as many
        objects as lines, each line is one.
        """
        content = np.frombuffer(block, np.uint8)
        offsets = np.frombuffer(lines.buffers()[1], np.int64)
        starts, ends = offsets[:-1], offsets[1:] - 2
        if (ends < starts).any() or (ends - starts).max(initial=0) >= self.max_document_bytes:
            return False
        ends = ends - (content[ends] == _RETURN)
        return bool((content[starts] == _OPEN).all() and (content[ends] == _CLOSE).all())

    def _schema(self, id_type: pa.DataType) -> pa.Schema:
        fields = self.fields
        return pa.schema(
            [(name, id_type if name == fields.id else pa.string()) for name in fields.names]
        )

    def _batch(self, lines: pa.Array, found: dict[str, pa.Array], numbers: pa.Array) -> Batch:
        fields = self.fields
        kinds = fill_kinds(found.get(fields.kind_field or ""), fields, len(lines))
        ids = make_ids(found.get(fields.id or ""), self.name, numbers)
        return Batch(lines, found[fields.text], kinds, ids)

    def _line_by_line(self, lines: pa.Array, row: int) -> tuple[Batch, pa.Array]:
        """The good lines of a block, and their numbers; what is wrong with the others."""
        good: list[int] = []
        faults: list[Fault] = []
        values: dict[str, list[Any]] = {name: [] for name in self.fields.names}
        for i, line in enumerate(lines):
            raw = line.as_py()
            if not raw.strip():
                continue
            try:
                if len(raw) - 1 > self.max_document_bytes:
                    raise BadLine("too_large", f"a line of over {self.max_document_bytes} bytes")
                document = parse_line(raw)
                text_of(document, self.fields.text)
            except BadLine as verdict:
                faults.append(Fault(row + i, verdict.reason, verdict.evidence))
                continue
            good.append(i)
            for name, column in values.items():
                value = document.get(name)
                column.append(value if value is None or isinstance(value, str) else str(value))
        numbers = pa.array([row + i for i in good], pa.int64())
        found = {name: pa.array(column, pa.string()) for name, column in values.items()}
        batch = self._batch(lines.take(pa.array(good, pa.int64())), found, numbers)
        return replace(batch, faults=faults), numbers


def parse_block(block: bytes, schema: pa.Schema | None) -> pa.Table:
    """A block in one thread; with a schema, the fields that it does not name are left out."""
    return pyarrow.json.read_json(
        pa.BufferReader(block),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="ignore" if schema else "infer"
        ),
    )
