"""A row of a table as a record: the column mapping, and what a row may lack.

Whatever the table is, each row has an address of its own, `file:row`, and costs itself alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import InputError
from pipeline.json_lines import BadLine, text_of
from pipeline.read_record import Record, Refusal, Unusable
from pipeline.sources import SourceConfig


def read_row(
    source: SourceConfig, name: str, number: int, row: dict[str, Any], max_bytes: int
) -> Record | Refusal:
    """The record of row `number` of the file `name`, or the refusal that carries both."""
    address = f"{name}:{number}"
    try:
        return _record(source, address, row, max_bytes)
    except (Unusable, BadLine) as verdict:
        return refuse_row(name, number, verdict.reason, verdict.evidence)


def refuse_row(name: str, number: int, reason: str, evidence: str) -> Refusal:
    """The refusal of one row or line."""
    return Unusable(reason, f"row {number}: {evidence}").refuse(f"{name}:{number}", number)


def refuse_rest(name: str, rows: int, verdict: Unusable) -> Refusal:
    """The refusal of what a file holds after `rows` rows or lines."""
    evidence = f"after {rows:,} rows: {verdict.evidence}"
    return Unusable(verdict.reason, evidence).refuse(name, rows + 1)


def _record(source: SourceConfig, address: str, row: dict[str, Any], max_bytes: int) -> Record:
    fields = source.fields
    text = text_of(row, fields.text)
    if not text.strip():
        raise Unusable("empty", f"{len(text)} characters")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise Unusable("lone_surrogate", str(error)) from error
    if size > max_bytes:
        raise Unusable("too_large", f"{size} bytes")
    kind = _word(row, fields.kind)
    if kind not in {"web", "code", None}:
        raise Unusable("unknown_kind", repr(kind))
    kept = {name: row[name] for name in fields.metadata if row.get(name) is not None}
    return Record(
        address,
        text,
        _word(row, fields.url_or_path),
        _word(row, fields.licence),
        _word(row, fields.language),
        kind,
        _word(row, fields.group),
        kept,
    )


def _word(row: Mapping[str, Any], column: str | None) -> str | None:
    """A mapped value as a string; of a list, its one element, as two licences are not one."""
    value = None if column is None else row.get(column)
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if value is None or value == "":
        return None
    word = str(value)
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise Unusable("lone_surrogate", f"in {column}: {error}") from error
    return word


def check_present(source: SourceConfig, names: list[str]) -> None:
    """Unusable where a mapped column does not stand exactly once among those of a file."""
    wanted = set(source.fields.columns.values())
    if lacking := wanted - set(names):
        raise Unusable("missing_column", f"no {sorted(lacking)} among {names[:30]}")
    if twice := sorted(name for name in wanted if names.count(name) > 1):
        raise Unusable("column_twice", f"{twice} stands more than once among {names[:30]}")


def check_columns(source: SourceConfig, name: str, known: Iterable[str]) -> None:
    """InputError where a mapped column is not exactly once among those of the table `name`."""
    known = sorted(known)
    for field, column in source.fields.columns.items():
        if column not in known:
            raise InputError(
                "ingest",
                f"source {source.name!r}: {name} has no column {column!r} for "
                f"fields.{field.partition('.')[0]}, but {', '.join(known[:30]) or 'none'}",
                "correct ingest.sources.fields, or state another format",
            )
        if known.count(column) > 1:
            raise InputError(
                "ingest",
                f"source {source.name!r}: {name} has {known.count(column)} columns {column!r}",
                "rename one of them, or choose another in ingest.sources.fields",
            )
