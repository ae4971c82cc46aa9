"""The files below an address that fsspec reaches: a directory, one file, or a glob.

A name is relative to what was asked for: to the directory, to the folder of the file, and of a
glob to the last folder before its first wildcard. So the same tree has the same names wherever it
lies. What the file system says of each file is given as it stands.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.addresses import file_system

WILDCARDS = "*?["


class Found(NamedTuple):
    """A file: its name, the path in its file system, and what that says of it."""

    name: str
    place: str
    facts: dict[str, Any]  # `size`, `type` and what else the file system has (ETag, mtime, ...)


def find_files(address: str) -> Iterator[Found]:
    """Every file below the address; raises what its file system raises."""
    fs, path = file_system(address)
    fs.invalidate_cache()  # what a store said earlier in this process may be true no more
    is_glob = any(sign in path for sign in WILDCARDS)
    listed: dict[str, dict[str, Any]]
    listed = fs.glob(path, detail=True) if is_glob else fs.find(path, detail=True)
    root = path.rstrip("/")
    if is_glob:
        root = posixpath.dirname(path[: min(path.find(s) for s in WILDCARDS if s in path)])
    elif root in listed:
        root = posixpath.dirname(root)
    for place, facts in listed.items():
        if facts["type"] == "file":
            yield Found(place[len(root) :].lstrip("/"), place, facts)
