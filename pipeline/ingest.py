"""Stage 1: read every source into documents; what cannot be read becomes a row in rejects.

A source is a tree of files. Each file is one record: kept as a document, dropped (nothing in it
to keep) or failed (could not be read), and never lost. A document's address is relative to its
source, so that the same tree gives the same ids on every machine. Files are read in sorted order
by datatrove ranks; rank r takes every tasks-th file.
"""

from __future__ import annotations

import io
import json
import os
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.config import HOW, Section
from pipeline.errors import InputError
from pipeline.ledger import Ledger
from pipeline.records import DOCUMENT, REJECT, make_doc_id, read_rows, write_table
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Sections, Stage, Workplace

DROPS = {"empty", "no_docstring"}  # the file was read, and holds nothing to keep


class SourceConfig(Section):
    """One tree of files."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="The source's name in every record.")
    address: str = Field(
        description="A directory. ${stdlib} and ${site_packages} stand for this interpreter's own."
    )
    kind: Literal["web", "code"] = Field(description="Prose (web) or program text (code).")
    read: Literal["text", "docstring"] = Field(
        "text", description="The whole file, or the module docstring of a Python file."
    )
    include: tuple[str, ...] = Field(
        ("*",), description="Patterns of relative paths; * matches slashes too."
    )
    exclude: tuple[str, ...] = Field((), description="Patterns of relative paths left out.")
    licence: str | None = Field(
        None, description="SPDX expression of every file here; null where it is not known."
    )
    language: str | None = Field(None, description="Such as en or python; null if unknown.")
    group_prefix: str | None = Field(
        None, description="First part of the group's name; null takes the source's name."
    )
    group_depth: int = Field(
        1, ge=1, le=8, description="Leading path parts that name a group; splits never cut one."
    )


class IngestConfig(Section):
    """Where the raw material is."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="The trees to read.")
    max_document_bytes: int = Field(
        1_000_000, ge=1_000, description="A larger file is rejected as too_large (bytes)."
    )
    tasks: int = Field(4, ge=1, le=10_000, description="Shards, and files of documents.")
    workers: int = Field(
        1, ge=1, le=256, description="Shards worked on at once.", json_schema_extra=HOW
    )

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"source name {twice[0]!r} stands twice; names must differ")
        return sources


def root_of(source: SourceConfig) -> Path:
    """The source's directory, with the placeholders filled in."""
    paths = sysconfig.get_paths()
    address = source.address.replace("${stdlib}", paths["stdlib"])
    return Path(address.replace("${site_packages}", paths["purelib"]))


def list_files(source: SourceConfig) -> list[str]:
    """The relative paths of a source's files, sorted; InputError when there is none."""
    root = root_of(source)
    if not root.is_dir():
        raise InputError(
            "ingest",
            f"source {source.name!r}: {root} is not a directory",
            "correct ingest.sources.address",
        )
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            path = (Path(folder) / name).relative_to(root).as_posix()
            if _matches(path, source.include) and not _matches(path, source.exclude):
                found.append(path)
    if not found:
        raise InputError(
            "ingest",
            f"source {source.name!r}: no file under {root} matches {list(source.include)}",
            "correct ingest.sources.address, include or exclude",
        )
    return sorted(found)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


class Unusable(Exception):  # noqa: N818  # a verdict on one file, not an error of the program
    """A file that gives no document: `reason` is a word, `evidence` what was seen."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(reason, evidence)
        self.reason, self.evidence = reason, evidence


def read_text(path: Path, max_bytes: int) -> str:
    """The text of one file; Unusable with the reason where it has none."""
    try:
        if path.stat().st_size > max_bytes:
            raise Unusable("too_large", f"{path.stat().st_size} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise Unusable("unreadable", error.strerror or type(error).__name__) from error
    if b"\x00" in raw:
        raise Unusable("binary", f"NUL byte at offset {raw.index(0)}")
    try:
        encoding = "utf-8-sig"
        if path.suffix == ".py":  # PEP 263: a Python file names its own encoding
            encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = raw.decode(encoding)
    except (UnicodeDecodeError, SyntaxError, LookupError) as error:
        raise Unusable("undecodable", str(error)) from error
    if not text.strip():
        raise Unusable("empty", f"{len(raw)} bytes")
    return text


def read_docstring(path: Path, max_bytes: int) -> str:
    """The module docstring of a Python file, found without parsing what comes after it."""
    import ast
    import inspect

    text = read_text(path, max_bytes)
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING:
                value = ast.literal_eval(token.string)
                if isinstance(value, str) and value.strip():
                    return inspect.cleandoc(value)
                break
            if token.type not in {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}:
                break
    except (tokenize.TokenError, SyntaxError, ValueError) as error:
        raise Unusable("unparsable", str(error)) from error
    raise Unusable("no_docstring", "the module does not begin with a string")


def make_document(source: SourceConfig, path: str, text: str) -> dict[str, Any]:
    """The document record of one file's text."""
    parts = path.split("/")
    group = [source.group_prefix or source.name, *parts[: source.group_depth]]
    return {
        "doc_id": make_doc_id(source.name, path, text),
        "text": text,
        "kind": source.kind,
        "source": source.name,
        "group": "/".join(group).removesuffix(".py"),
        "url_or_path": path,
        "licence": source.licence,
        "language": source.language,
        "origin": "human",
        "metadata": json.dumps({"read": source.read}),
    }


@dataclass(frozen=True)
class ReadShard:
    """The work of one rank: its share of the files, in order."""

    config: IngestConfig
    files: list[tuple[SourceConfig, str]]
    documents: Path
    rejects: Path

    def __call__(self, rank: int, world_size: int) -> Ledger:
        rejects: list[dict[str, str]] = []
        share = self.files[rank::world_size]
        kept = write_table(
            self.documents / f"{rank:05}.parquet", self._documents(share, rejects), DOCUMENT
        )
        write_table(self.rejects / f"{rank:05}.parquet", rejects, REJECT)
        reasons = Counter(row["reason"] for row in rejects)
        return Ledger(
            "files",
            len(share),
            kept,
            {reason: n for reason, n in reasons.items() if reason in DROPS},
            {reason: n for reason, n in reasons.items() if reason not in DROPS},
        )

    def _documents(
        self, share: list[tuple[SourceConfig, str]], rejects: list[dict[str, str]]
    ) -> Iterator[dict[str, Any]]:
        for source, path in share:
            read = read_text if source.read == "text" else read_docstring
            try:
                text = read(root_of(source) / path, self.config.max_document_bytes)
                yield make_document(source, path, text)
            except Unusable as verdict:
                rejects.append(
                    {
                        "source": source.name,
                        "url_or_path": path,
                        "reason": verdict.reason,
                        "evidence": verdict.evidence,
                    }
                )


def ingest(place: Workplace) -> Outcome:
    """Read all sources into `documents/` and `rejects.parquet`."""
    config = place.section(IngestConfig)
    files = [(source, path) for source in config.sources for path in list_files(source)]
    rejects = place.scratch / "rejects"
    work = ReadShard(config, files, place.out / "documents", rejects)
    ledger = run_shards(place, "reading", work, "files", config.tasks, config.workers)
    if ledger.kept == 0:
        raise InputError(
            "ingest", f"none of {ledger.rows_in} files gave a document", "look at the sources"
        )
    write_table(place.out / "rejects.parquet", read_rows(sorted(rejects.iterdir())), REJECT)
    by_source = Counter(source.name for source, _ in files)
    return Outcome(ledger, {"files_by_source": dict(sorted(by_source.items()))})


def _inputs(recipe: Sections) -> Iterator[tuple[str, Path]]:
    for source in recipe.section(IngestConfig).sources:
        root = root_of(source)
        for path in list_files(source):
            if os.access(root / path, os.R_OK):
                yield f"{source.name}/{path}", root / path


STAGE = Stage(
    number=1,
    name="ingest",
    version=1,
    needs=(),
    makes=("documents/*.parquet", "rejects.parquet"),
    sees=(IngestConfig,),
    work=ingest,
    inputs=_inputs,
)
