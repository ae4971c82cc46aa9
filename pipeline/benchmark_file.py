"""Rows of a benchmark's file: JSON lines or CSV, plain or .gz, or Parquet.

Read for keeping its items out of the training data, and for asking a model about them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Arrow's errors are among these; a RuntimeError is of JSON that is nested too deeply.
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, csv.Error, zlib.error)


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Every row as fields by name; one of UNREADABLE where the file is broken."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from pq.read_table(path).to_pylist()
        return
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    if path.name.removesuffix(".gz").endswith(".csv"):
        yield from csv.DictReader(io.StringIO(text))
        return
    for line in text.split("\n"):  # JSON lets other line ends stand inside a string
        if line.strip():
            row = json.loads(line)
            if r"\ud" in line.lower():  # half a pair of escapes is no character
                row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
            if not isinstance(row, dict):
                raise ValueError(f"a row is no JSON object: {line[:60]}")
            yield row
