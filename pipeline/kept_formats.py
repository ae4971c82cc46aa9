"""Kept rows in another format than they came in.

Columns become lines one object at a time, which is slow but only paid for what is kept. Lines
become columns in two passes over what was kept, because the columns are only known at its end:
a field may be null for a million lines and then be a number.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.corpus_files import UnreadableFile
from pipeline.json_lines import BLOCK_BYTES, parse_block, whole_lines
from pipeline.kept_files import Lines, RowGroups, Writer

FORMATS = ("parquet", "jsonl.zst")


def open_kept(path: Path, schema: pa.Schema | None, form: str, text: str) -> Writer:
    """A writer of rows of this schema (lines where it is None) in one of FORMATS."""
    if form == "parquet":
        return LinesAsColumns(path, text) if schema is None else RowGroups(path, schema, (text,))
    return Lines(path) if schema is None else RowsAsLines(path)


class RowsAsLines:
    """Record batches as lines of JSON."""

    def __init__(self, path: Path) -> None:
        self.lines = Lines(path)

    def write(self, rows: pa.RecordBatch) -> None:
        """Raises UnreadableFile where a value has no form in JSON."""
        import orjson

        try:
            made = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows.to_pylist()]
        except (TypeError, ValueError) as error:
            raise UnreadableFile(f"a row cannot be written as JSON ({error})") from error
        self.lines.write(pa.array(made, pa.large_binary()))

    def close(self) -> None:
        """End the stream."""
        self.lines.close()


class LinesAsColumns:
    """Lines of JSON as one Parquet file, with the columns that all kept lines together have."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.gathered = path.with_name(f"{path.name}.lines")
        self.lines = Lines(self.gathered)
        self.schemas: list[pa.Schema] = []

    def write(self, rows: pa.LargeBinaryArray) -> None:
        """Keep the lines for later."""
        self.lines.write(rows)

    def close(self) -> None:
        """Raises UnreadableFile where a field has values of several types."""
        self.lines.close()
        try:
            schemas = [_without_guesses(parse_block(b, None).schema) for b in self._blocks()]
            schema = reduce(_joined, schemas, pa.schema([(self.text, pa.string())]))
            schema = pa.schema([f.with_type(_known(f.type)) for f in schema])
            file = RowGroups(self.path, schema, (self.text,))
            for block in self._blocks():
                for batch in parse_block(block, schema).to_batches():
                    file.write(batch)
            file.close()
        except pa.ArrowException as error:
            raise UnreadableFile(
                f"the kept lines do not fit one table ({error}); --format jsonl.zst keeps them"
            ) from error
        finally:
            self.gathered.unlink(missing_ok=True)

    def _blocks(self) -> Any:
        with pa.CompressedInputStream(pa.OSFile(str(self.gathered)), "zstd") as stream:
            yield from whole_lines(iter(lambda: stream.read(BLOCK_BYTES), b""), 1 << 30)


def _joined(left: pa.Schema, right: pa.Schema) -> pa.Schema:
    return pa.unify_schemas([left, right], promote_options="permissive")


def _without_guesses(schema: pa.Schema) -> pa.Schema:
    """Arrow reads strings that look like times as times; they are to stay what they are."""
    return pa.schema([f.with_type(_mapped(f.type, pa.types.is_timestamp)) for f in schema])


def _known(kind: pa.DataType) -> pa.DataType:
    """A type that Parquet's readers have: what was always null becomes a string."""
    return _mapped(kind, pa.types.is_null)


def _mapped(kind: pa.DataType, is_this: Any) -> pa.DataType:
    if is_this(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_mapped(f.type, is_this)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(_mapped(kind.value_type, is_this))
    return kind
