"""What a source of a recipe says: where it is, what it holds, and how its records are read.

A source is an address (a directory, a file, a glob, a git repository, a Hugging Face dataset, here
or at any address that fsspec reaches) and one *format*. The format is told by the files' suffixes
where all of them agree, and is stated where they do not: nothing is guessed from a part of them.
"""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from pipeline.config import Section

Format = Literal["text", "jsonl", "csv", "parquet", "archive", "git"]

COMPRESSED = (".gz", ".zst")
FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".warc": "archive",
    ".wet": "archive",
    ".arc": "archive",
}
TABLES = ("jsonl", "csv", "parquet")


class SourceFields(Section):
    """Which columns of a table hold what; null where the table has no such column."""

    text: str = Field("text", min_length=1, description="Column of the text.")
    url_or_path: str | None = Field(
        None, description="Column of the record's own address; null takes file:row."
    )
    licence: str | None = Field(None, description="Column of the licence of each record.")
    language: str | None = Field(None, description="Column of the language of each record.")
    kind: str | None = Field(
        None, description="Column that says web or code; null in it takes the source's kind."
    )
    group: str | None = Field(
        None, description="Column of the repository or site; splits never cut through one."
    )
    metadata: tuple[str, ...] = Field((), description="Columns kept in the record's metadata.")

    @property
    def columns(self) -> dict[str, str]:
        """The asked columns by the field that asks, without those that are null."""
        named = {name: getattr(self, name) for name in _MAPPED}
        found = {name: column for name, column in named.items() if column is not None}
        return found | {f"metadata.{i}": column for i, column in enumerate(self.metadata)}


_MAPPED = ("text", "url_or_path", "licence", "language", "kind", "group")


class SourceConfig(Section):
    """One source: a tree of files, tables, archives, a dataset or git repositories."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="The source's name in every record.")
    address: str = Field(
        min_length=1,
        description="A directory, file or glob, here or where fsspec reaches (s3://, zip://, "
        "hf://datasets/owner/name). ${stdlib} and ${site_packages} stand for this interpreter's "
        "own.",
    )
    kind: Literal["web", "code"] = Field(description="Prose (web) or program text (code).")
    format: Format | None = Field(
        None, description="Null tells it by the suffixes, and a bare repository by its look."
    )
    fields: SourceFields = Field(SourceFields(), description="Columns of tables; see its fields.")
    read: Literal["text", "docstring"] = Field(
        "text", description="The whole file, or the module docstring of a Python file."
    )
    include: tuple[str, ...] = Field(
        ("*",), description="Patterns of relative paths; * matches slashes too."
    )
    exclude: tuple[str, ...] = Field((), description="Patterns of relative paths left out.")
    encoding: str | None = Field(
        None,
        description="Of text and CSV; null is UTF-8, or what a byte order mark or a Python file "
        "says.",
    )
    revision: str | None = Field(
        None, min_length=1, description="Branch, tag or commit of git repositories; null is HEAD."
    )
    subset: str | None = Field(
        None, description="Config of a Hugging Face dataset's README; null is its default one."
    )
    split: str | None = Field(
        None, description="Split of a Hugging Face dataset, such as train; null reads all."
    )
    licence: str | None = Field(
        None, description="SPDX expression of every record here; null where it is not known."
    )
    language: str | None = Field(None, description="Such as en or python; null if unknown.")
    weight: float | None = Field(
        None,
        gt=0,
        le=1_000,
        description="How often a token of this source is read, against one of weight 1; null is 1. "
        "See tokenize.mixture.",
    )
    group_prefix: str | None = Field(
        None, description="First part of the group's name; null takes the source's name."
    )
    group_depth: int = Field(
        1, ge=1, le=8, description="Leading path parts that name a group; splits never cut one."
    )

    @field_validator("encoding")
    @classmethod
    def _is_a_codec(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "a".encode(encoding)
            except LookupError:
                raise ValueError(f"no encoding of text is called {encoding!r}") from None
        return encoding

    @property
    def place(self) -> str:
        """The address with the placeholders filled in."""
        paths = sysconfig.get_paths()
        address = self.address.replace("${stdlib}", paths["stdlib"])
        return address.replace("${site_packages}", paths["purelib"])


@dataclass(frozen=True)
class SourceFile:
    """One file (or git repository) of a source.

    `name` is relative to the source and printable; `place` is what its file system opens; `stamp`
    changes when the content does; `trouble` says why it cannot be opened, and is empty otherwise.
    """

    name: str
    place: str
    bytes: int
    stamp: str
    trouble: str = ""

    @property
    def suffix(self) -> str:
        """The last suffix in lower case, the compression's left off: `.csv` of `A.CSV.gz`."""
        name = self.name.lower()
        for ending in COMPRESSED:
            name = name.removesuffix(ending)
        stem, dot, last = name.rpartition("/")[2].rpartition(".")
        return dot + last if stem else ""

    @property
    def compression(self) -> str:
        """`.gz`, `.zst`, or empty."""
        return next((ending for ending in COMPRESSED if self.name.lower().endswith(ending)), "")
