"""Benchmark files, read as the texts that must not be trained on."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.config import Section
from pipeline.errors import InputError


class BenchmarkConfig(Section):
    """One benchmark file: JSON lines or CSV, plain or .gz."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="The benchmark's name in reports.")
    path: str = Field(description="The file, relative to the working directory.")
    fields: tuple[str, ...] = Field(
        min_length=1, description="Fields of a row; each is one text that is searched for."
    )


def read_items(config: BenchmarkConfig) -> list[tuple[str, str]]:
    """(item's name, text) of every non-empty field of every row.

    Raises InputError where the file is missing, empty, unreadable or lacks the fields.
    """
    path = Path(config.path)
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
        rows = list(_rows(path.name.removesuffix(".gz"), text))
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise InputError(
            "decontaminate",
            f"benchmark {config.name!r}: {path} cannot be read ({error})",
            "correct decontaminate.benchmarks",
        ) from error
    found = [
        (f"{i}:{field}", str(row[field]))
        for i, row in enumerate(rows)
        for field in config.fields
        if row.get(field)
    ]
    if not found:
        known = sorted(map(str, rows[0])) if rows else []
        raise InputError(
            "decontaminate",
            f"benchmark {config.name!r}: {path} has {len(rows)} rows and nothing in the fields "
            f"{list(config.fields)}",
            f"its fields are {known}" if known else "give a file with rows",
        )
    return found


def _rows(name: str, text: str) -> Iterator[dict[str, Any]]:
    if name.endswith(".csv"):
        yield from csv.DictReader(io.StringIO(text))
        return
    for line in text.split("\n"):  # JSON lets other line ends stand inside a string
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"a row is no JSON object: {line[:60]}")
            yield row
