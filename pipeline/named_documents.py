"""Documents that are to be labelled by name: the ids in files, such as the sample of drift.

Parquet, CSV or JSONL with a `doc_id` in every row; other columns are not read. They are labelled on
top of what is drawn, so that the forest learns what it has not seen. docs/drift.md says when.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError

_ID = "doc_id"


def read_named(paths: Iterable[Path], run: Path) -> frozenset[str]:
    """The ids in these files.

    Raises InputError with the file and the cure where one cannot be read, has no doc_id, or lies in
    the run that it would decide: a later stage writes it anew, and the labels would never settle.
    """
    found: set[str] = set()
    for path in paths:
        if path.resolve().is_relative_to(run.resolve()):
            raise _wrong(f"{path} is a part of this very run", "copy it, and name the copy")
        found.update(_read_ids(path))
    return frozenset(found)


def _read_ids(path: Path) -> Iterator[str]:
    readers = {".parquet": _parquet_ids, ".csv": _csv_ids, ".jsonl": _jsonl_ids}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _wrong(f"{path} is none of {', '.join(readers)}", "name it by what it is")
    try:
        for row, value in enumerate(reader(path), 1):
            # the review queue marks an id that a spreadsheet would take for a number
            doc_id = "" if value is None else str(value).strip().removeprefix("'")
            if not doc_id:
                raise _wrong(f"{path}, row {row}: there is no {_ID}", f"give each row its {_ID}")
            yield doc_id
    except (OSError, ValueError, pa.ArrowException, csv.Error) as error:
        said = str(error).splitlines()[0][:200]
        raise _wrong(f"{path} cannot be read ({said})", "mend it") from error


def _parquet_ids(path: Path) -> Iterator[Any]:
    with pq.ParquetFile(path) as file:
        if _ID not in file.schema_arrow.names:
            raise ValueError(f"no column {_ID} among {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(columns=[_ID]):
            yield from batch[_ID].to_pylist()


def _csv_ids(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        rows = csv.DictReader(file, delimiter=";" if head.count(";") > head.count(",") else ",")
        if _ID not in (rows.fieldnames or ()):
            raise ValueError(f"no column {_ID} in the first line")
        yield from (row[_ID] for row in rows)


def _jsonl_ids(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            if line.strip():
                row = json.loads(line)
                yield row.get(_ID) if isinstance(row, dict) else None


def _wrong(problem: str, cure: str) -> InputError:
    return InputError("label", f"label.also: {problem}", cure)
