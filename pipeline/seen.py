"""seen.parquet: the source files that a version and all before it have read, by content.

A file is known by its source, its name and a stamp: the hash of a local file, the commit of a
repository, what a store says of an object, or the trouble for which it could not be read. A file
whose stamp was not seen is new, so a changed one is read again and an unreadable one is tried again
once something about it is another. The table holds what the ancestors saw too, so that a chain of
versions needs no more than the direct parent.

What it costs: one reading of local files to hash them, and some 300 bytes of memory a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.addresses import local_path
from pipeline.errors import InputError
from pipeline.manifest import hash_file
from pipeline.records import read_rows, write_table
from pipeline.sources import SourceFile
from pipeline.sources_plan import Listed
from pipeline.stage import Sealed

SEEN = "seen.parquet"
SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),  # of the file, relative to its source
        pa.field("stamp", pa.string(), nullable=False),  # changes with the content
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("listed", pa.bool_(), nullable=False),  # when this version was made
    ]
)
_TOLD = 20  # removed files that the facts name

Row = dict[str, Any]


@dataclass(frozen=True)
class News:
    """What a version finds: the files to read, and all that is seen after it."""

    new: list[Listed]
    changed: int  # of the new files, those whose name was seen with another content
    removed: list[str]  # source/name of what the parent listed and is not there any more
    rows: list[Row]

    @property
    def files(self) -> int:
        """How many are new."""
        return sum(len(listed.files) for listed in self.new)

    def write(self, path: Path) -> None:
        """Seal what was seen."""
        write_table(path, self.rows, SCHEMA)

    def facts(self) -> dict[str, Any]:
        """For the manifest, with the first of the removed files by name."""
        return {
            "changed_files": self.changed,
            "removed_files": len(self.removed),
            "removed_first": self.removed[:_TOLD],
        }


def find_news(listed: Sequence[Listed], parent: Sealed | None) -> News:
    """The files that no ancestor has seen; without a parent, all of them."""
    before = _read(parent)
    known = {(row["source"], row["name"], row["stamp"]) for row in before}
    names = {key[:2] for key in known}
    now: dict[tuple[str, str, str], Row] = {}
    new, changed = [], 0
    for one in listed:
        files = []
        for file, stamp in _stamped(one):
            key = (one.source.name, file.name, stamp)
            now[key] = dict(zip(SCHEMA.names, (*key, file.bytes, True), strict=True))
            if key not in known:
                files.append(file)
                changed += key[:2] in names
        new.append(replace(one, files=files))
    there = {key[:2] for key in now}
    gone = {(row["source"], row["name"]) for row in before if row["listed"]} - there
    earlier = [{**row, "listed": False} for row in before if _key(row) not in now]
    return News(
        new, changed, sorted("/".join(pair) for pair in gone),
        sorted([*earlier, *now.values()], key=_key),
    )  # fmt: skip


def _key(row: Row) -> tuple[str, str, str]:
    return row["source"], row["name"], row["stamp"]


def _read(parent: Sealed | None) -> list[Row]:
    if parent is None:
        return []
    if SEEN not in parent.manifest.files:
        raise InputError(
            "ingest",
            f"{parent.path} does not say which files it read: an earlier Primer made it",
            "run the parent's recipe again: labels that were paid for are kept",
        )
    return list(read_rows([parent.file(SEEN)]))


def _stamped(listed: Listed) -> Iterator[tuple[SourceFile, str]]:
    """Every file with what tells its content."""
    local = listed.format != "git" and local_path(listed.source.place) is not None
    for file in listed.files:
        if file.trouble:
            yield file, f"trouble: {file.trouble}"
        elif not local:
            yield file, f"{file.bytes} {file.stamp}"
        else:
            try:
                yield file, hash_file(Path(file.place))
            except OSError as error:  # it becomes a row in rejects
                yield file, f"trouble: {error.strerror or type(error).__name__}"
