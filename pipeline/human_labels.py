"""Scores that people gave: read from a CSV or JSONL file, such as a review queue filled in.

Needed are `doc_id` and `human_score`; `annotator` and `note` are read where they are, and other
columns are the reviewer's own affair. A blank score means that the document was not reviewed.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

_SCORE = re.compile(r"([0-5])(\.0*)?")  # "4.0" is what tables with blanks make of 4
_NEEDED = ("doc_id", "human_score")
_CURE = f"give {' and '.join(_NEEDED)}, in these words"


@dataclass(frozen=True)
class HumanLabel:
    """One document's score (0 to 5) by a person, who may be unnamed."""

    doc_id: str
    score: int
    annotator: str | None = None
    note: str | None = None


def read_human_labels(path: Path) -> dict[str, HumanLabel]:
    """The labels by doc_id; a document scored twice alike counts once, as it was scored first.

    Raises InputError with the file, the line, the value and the cure where the file is not there,
    is neither CSV nor JSONL in UTF-8, lacks a column, scores what is no integer from 0 to 5, or
    scores a document twice and differently.
    """
    found: dict[str, HumanLabel] = {}
    for line, row in _rows(path):
        label = _read_label(path, line, row)
        if label is None:
            continue
        before = found.setdefault(label.doc_id, label)
        if before.score != label.score:
            raise _wrong(
                f"{path}, line {line}: document {label.doc_id!r} is scored {label.score} here and "
                f"{before.score} before",
                "leave one of the two",
            )
    return found


def _read_label(path: Path, line: int, row: Mapping[str, Any]) -> HumanLabel | None:
    for name in _NEEDED:
        if name not in row:
            raise _wrong(f"{path}, line {line}: there is no {name!r}", _CURE)
    score = _text(row["human_score"])
    if not score:
        return None
    read = _SCORE.fullmatch(score)
    if read is None:
        raise _wrong(
            f"{path}, line {line}: human_score = {score!r}",
            "give an integer from 0 to 5, or leave it blank for a document not reviewed",
        )
    # the review queue marks an id that a spreadsheet would take for a number
    doc_id = _text(row["doc_id"]).removeprefix("'")
    if not doc_id:
        raise _wrong(f"{path}, line {line}: a score without a doc_id", "name the document")
    said = (_text(row.get(name)) or None for name in ("annotator", "note"))
    return HumanLabel(doc_id, int(read[1]), *said)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows, each with the line where it begins."""
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _wrong(f"{path} is neither .csv nor .jsonl", "name it by what it is")
    try:
        yield from reader(path)
    except OSError as error:
        raise _wrong(f"{path} cannot be read ({error})", "correct label.human_labels") from error
    except UnicodeDecodeError as error:
        raise _wrong(f"{path} is not UTF-8 ({error})", "save it as CSV UTF-8") from error


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Excel puts a byte order mark first; where the comma is for decimals it parts by semicolons
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        table = csv.reader(file, delimiter=";" if head.count(";") > head.count(",") else ",")
        names = next(table, [])
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise _wrong(
                f"{path}, line 1: there is no column {missing[0]!r} among {', '.join(names)!r}",
                f"in the first line, {_CURE}",
            )
        line = table.line_num + 1
        try:
            for cells in table:
                if cells:
                    yield line, dict.fromkeys(names, "") | dict(zip(names, cells, strict=False))
                line = table.line_num + 1
        except csv.Error as error:
            raise _wrong(f"{path}, line {line}: not CSV ({error})", "mend that line") from error


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise _wrong(f"{path}, line {line}: not JSON ({error})", "mend it") from error
            if not isinstance(row, dict):
                raise _wrong(f"{path}, line {line}: {text.strip()!r}", "give an object a line")
            yield line, row


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _wrong(problem: str, cure: str) -> InputError:
    return InputError("label", problem, cure)
