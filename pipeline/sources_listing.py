"""The files of a source, sorted by name: here, or wherever fsspec reaches.

A local tree is walked without following links to directories, so links in a circle end nowhere;
what cannot be listed is a file with its trouble, and becomes a row in rejects. What the user got
wrong (an address, a pattern, credentials) is one line, before anything is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from pipeline.address_listing import WILDCARDS, find_files
from pipeline.addresses import describe, local_path
from pipeline.errors import InputError
from pipeline.sources import SourceConfig, SourceFile

NOT_ENTERED = {"__pycache__", ".git"}
_STAMPS = ("ETag", "etag", "CRC", "blob_id", "mtime", "LastModified", "last_commit", "created")


def list_files(source: SourceConfig) -> list[SourceFile]:
    """The source's files, sorted by name; InputError when there is none."""
    found = [file for file in _list(source) if is_asked(source, file.name)]
    if not found:
        raise InputError(
            "ingest",
            f"source {source.name!r}: no file at {source.place} matches {list(source.include)}",
            "correct ingest.sources.address, include or exclude",
        )
    return sorted(found, key=lambda file: file.name)


def is_asked(source: SourceConfig, name: str) -> bool:
    """Whether `include` asks for a relative path and `exclude` does not leave it out."""
    return _matches(name, source.include) and not _matches(name, source.exclude)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _list(source: SourceConfig) -> Iterator[SourceFile]:
    path = local_path(source.place)
    if path is not None and os.path.isdir(path):
        return _walk(path)
    if path is not None and os.path.exists(path):
        return iter([local_file(path, path.name)])
    if path is not None and not any(sign in str(path) for sign in WILDCARDS):
        raise InputError(
            "ingest",
            f"source {source.name!r}: {path} is not a directory or a file",
            "correct ingest.sources.address",
        )
    return _find(source)


def _walk(root: Path) -> Iterator[SourceFile]:
    closed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=closed.append):
        folders[:] = [name for name in folders if name not in NOT_ENTERED]
        for name in files:
            path = Path(folder) / name
            yield local_file(path, path.relative_to(root).as_posix())
    yield from (closed_folder(root, error) for error in closed)


def closed_folder(root: Path, error: OSError) -> SourceFile:
    """A folder that cannot be listed, as a file with its trouble."""
    path = Path(error.filename)
    trouble = f"the directory cannot be listed: {error.strerror}"
    return SourceFile(printable(path.relative_to(root).as_posix()), str(path), 0, "", trouble)


def local_file(path: Path, name: str) -> SourceFile:
    """A local file with its size and stamp, or with why it has none."""
    try:
        facts = path.stat()
    except OSError as error:
        trouble = error.strerror or type(error).__name__
        return SourceFile(printable(name), str(path), 0, "", trouble)
    if not stat.S_ISREG(facts.st_mode):  # to open a pipe would wait for a writer, for ever
        return SourceFile(printable(name), str(path), 0, "", "a pipe, socket or device")
    return SourceFile(printable(name), str(path), facts.st_size, str(facts.st_mtime_ns))


def printable(name: str) -> str:
    """A file's name as text that can be written, whatever bytes it is made of."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _find(source: SourceConfig) -> Iterator[SourceFile]:
    try:
        files = list(find_files(source.place))
    except Exception as error:  # every file system has errors of its own
        raise InputError(
            "ingest",
            f"source {source.name!r}: {source.place} cannot be listed ({describe(error)})",
            "correct ingest.sources.address, or the credentials and the endpoint in the "
            "environment",
        ) from error
    for name, place, facts in files:
        if local_path(source.place) is not None:
            yield local_file(Path(place), name)
            continue
        stamps = [f"{facts[key]}" for key in _STAMPS if facts.get(key) is not None]
        yield SourceFile(printable(name), place, int(facts.get("size") or 0), " ".join(stamps))
