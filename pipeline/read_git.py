"""The files of a git repository at a named revision, read from its objects: no checkout, no git.

Bare repositories do as well as working trees. Every record keeps the commit, and the licence that
the repository's licence file holds, with its path; the group is the repository. Links and
submodules hold no text of their own and are no records. A blob is refused by the size in its
header, before it is inflated. Format: https://git-scm.com/docs/gitformat-pack; read with dulwich.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.addresses import describe, local_path
from pipeline.errors import InputError
from pipeline.read_git_sizes import object_sizes
from pipeline.read_notebook import MAX_NOTEBOOK_BYTES, notebook_record
from pipeline.read_record import Record, Refusal, Unusable
from pipeline.read_text import text_of_file
from pipeline.sources import SourceConfig, SourceFile
from pipeline.sources_listing import closed_folder, is_asked, printable

if TYPE_CHECKING:
    from dulwich.objects import ObjectID
    from dulwich.repo import Repo

MAX_BASE_BYTES = 256 << 20  # of an earlier version that a blob is stored as a change of


def is_repository(path: Path) -> bool:
    """Whether a directory is a bare repository; a working tree holds one in `.git`."""
    folders = (path / "objects", path / "refs")
    return os.path.isfile(path / "HEAD") and all(map(os.path.isdir, folders))


def find_repositories(source: SourceConfig) -> list[SourceFile]:
    """The repositories at or below a local address, by name, with the commit as their stamp."""
    root = local_path(source.place)
    if root is None or not os.path.isdir(root):
        raise InputError(
            "ingest",
            f"source {source.name!r}: {source.place} is not a local directory",
            "clone the repository here, and correct ingest.sources.address",
        )
    places: list[tuple[str, Path]] = []
    closed: list[OSError] = []
    for folder, folders, _ in os.walk(root, onerror=closed.append):
        here = Path(folder)
        if (here / ".git").exists() or is_repository(here):
            name = here.relative_to(root).as_posix()
            resolved = here.resolve().name if name == "." else name
            places.append((resolved.removesuffix(".git") or "repository", here))
            folders.clear()
    if not places:
        raise InputError(
            "ingest",
            f"source {source.name!r}: there is no git repository at {root}",
            "correct ingest.sources.address or format",
        )
    found = [_resolve(source, name, path) for name, path in sorted(places)]
    return [*found, *(closed_folder(root, error) for error in closed)]


def _open(path: str) -> Repo:
    from dulwich.repo import Repo

    return Repo(path)


def _resolve(source: SourceConfig, name: str, path: Path) -> SourceFile:
    from dulwich.objectspec import parse_commit

    revision = source.revision or "HEAD"
    try:
        with _open(str(path)) as repo:
            commit = parse_commit(repo, revision.encode())
            size = sum(file.stat().st_size for file in Path(repo.controldir()).rglob("*.pack"))
            return SourceFile(printable(name), str(path), size, commit.id.decode())
    except Exception as error:  # dulwich's errors have many types
        raise InputError(
            "ingest",
            f"source {source.name!r}: {path} has no revision {revision!r} ({describe(error)})",
            "correct ingest.sources.revision, or fetch it",
        ) from error


def read_git(source: SourceConfig, file: SourceFile, max_bytes: int) -> Iterator[Record | Refusal]:
    """The records of one repository, by path."""
    if file.trouble:
        yield Unusable("unreadable", file.trouble).refuse(file.name)
        return
    try:
        opened = _open(file.place)
    except Exception as error:  # it was there when it was listed
        yield Unusable("unreadable", describe(error)).refuse(file.name)
        return
    with opened as repo:
        try:
            entries = list(_entries(repo, file.stamp))
        except Exception as error:  # a tree or the commit is not there, or is damaged
            yield Unusable("damaged", describe(error)).refuse(file.name)
            return
        path, licence = _licence(repo, entries, max_bytes)
        facts = {"repository": file.name, "commit": file.stamp, "licence_file": path}
        for name, sha in entries:
            if is_asked(source, name):
                found = _read_blob(source, file, repo, name, sha, facts, max_bytes)
                yield replace(found, licence=licence) if isinstance(found, Record) else found


def _licence(
    repo: Repo, entries: list[tuple[str, ObjectID]], max_bytes: int
) -> tuple[str | None, str | None]:
    """The path of the licence file at the top, and the SPDX id of its text; None where unknown."""
    from pipeline.code_licence_texts import is_licence_file, licence_of_text

    for name, sha in entries:
        if is_licence_file(name):
            try:
                return name, licence_of_text(_blob(repo, sha, max_bytes).decode(errors="replace"))
            except Unusable:
                return name, None
    return None, None


def _entries(repo: Repo, commit: str) -> Iterator[tuple[str, ObjectID]]:
    """(path, blob) of the regular files of a commit, in the order of the paths' bytes."""
    from dulwich.object_store import iter_tree_contents
    from dulwich.objects import ObjectID

    tree = repo.get_object(ObjectID(commit.encode())).tree  # type: ignore[attr-defined]
    for entry in iter_tree_contents(repo.object_store, tree):
        if stat.S_ISREG(entry.mode):
            yield entry.path.decode("utf-8", "backslashreplace"), entry.sha


def _read_blob(
    source: SourceConfig, file: SourceFile, repo: Repo, name: str, sha: ObjectID,
    facts: dict[str, Any], max_bytes: int,
) -> Record | Refusal:  # fmt: skip
    address = f"{file.name}/{name}"
    is_notebook = name.lower().endswith(".ipynb")
    limit = max(MAX_NOTEBOOK_BYTES, max_bytes) if is_notebook else max_bytes
    try:
        raw = _blob(repo, sha, limit)
        if is_notebook:
            found = notebook_record(source, name, raw, max_bytes)
        else:
            found = Record(name, text_of_file(source, name, raw))
    except Unusable as verdict:
        return verdict.refuse(address)
    metadata = {**found.metadata, **facts}
    return Record(address, found.text, language=found.language, group=file.name, metadata=metadata)


def _blob(repo: Repo, sha: ObjectID, max_bytes: int) -> bytes:
    try:
        size, *bases = object_sizes(repo.object_store, sha)
        if size > max_bytes:
            raise Unusable("too_large", f"{size} bytes")
        if max(bases, default=0) > MAX_BASE_BYTES:
            raise Unusable("too_large", f"a delta of an object of {max(bases)} bytes")
        return bytes(repo.object_store.get_raw(sha)[1])
    except Unusable:
        raise
    except KeyError as error:
        raise Unusable("missing_object", f"no object {sha.decode()}") from error
    except Exception as error:  # zlib's, dulwich's and the file system's
        raise Unusable("damaged", f"object {sha.decode()}: {describe(error)}") from error
