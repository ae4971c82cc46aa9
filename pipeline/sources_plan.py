"""From sources to shards: every file once, in one order, whatever the number of shards.

A shard is a run of neighbours in the one order of all files (sources as the recipe has them, files
by name), cut where the bytes are about even. So the documents, read shard by shard, are the same
in the same order for any number of tasks. A large Parquet file is several pieces, by row groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.addresses import local_path
from pipeline.errors import InputError
from pipeline.manifest import hash_file
from pipeline.read_csv import check_csv
from pipeline.read_git import find_repositories, is_repository
from pipeline.read_lines import check_lines
from pipeline.read_parquet import Part, check_parquet, split_groups
from pipeline.sources import FORMATS, TABLES, Format, SourceConfig, SourceFile
from pipeline.sources_dataset import choose_files, is_beside, read_front_matter
from pipeline.sources_listing import list_files

_BYTES_OF_OPENING = 8_192  # what a small file costs beside its content
_CHECKED_FILES = 5


@dataclass(frozen=True)
class Listed:
    """A source with its files and the one format that they are read as."""

    source: SourceConfig
    format: Format
    files: Sequence[SourceFile]
    dataset_licence: str | None = None  # as its README words it

    @property
    def bytes(self) -> int:
        """What its files take, as they are stored."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Piece:
    """What a shard reads in one go: a file, or some row groups of it."""

    source: int  # its place in the recipe
    format: Format
    file: SourceFile
    part: Part | None
    bytes: int
    dataset_licence: str | None = None


def list_source(source: SourceConfig) -> Listed:
    """The files of a source and their format; InputError where the recipe is wrong about them."""
    path = local_path(source.place)
    if source.format == "git" or (
        source.format is None and path is not None and is_repository(path)
    ):
        listed = Listed(source, "git", find_repositories(source))
    else:
        files = list_files(source)
        tables = [file for file in files if not is_beside(file)]
        form = source.format or _format_of(source, tables or files)
        licence = None
        if form in TABLES:
            facts = read_front_matter(source, files)
            files = choose_files(source, files, facts) if _is_dataset(source, facts) else tables
            stated = facts.get("license")
            licence = stated if isinstance(stated, str) else None
        elif form == "archive":
            files = tables
        listed = Listed(source, form, files, licence)
    _check_fitting(listed)
    return listed


def _is_dataset(source: SourceConfig, facts: dict[str, object]) -> bool:
    return "configs" in facts or source.subset is not None or source.split is not None


def _format_of(source: SourceConfig, files: list[SourceFile]) -> Format:
    formats = sorted({FORMATS.get(file.suffix, "text") for file in files})
    if len(formats) > 1:
        raise InputError(
            "ingest",
            f"source {source.name!r}: {source.place} holds files of the formats "
            f"{', '.join(formats)}",
            "state ingest.sources.format (text reads all of them as they are), or include one kind",
        )
    return formats[0]


def _check_fitting(listed: Listed) -> None:
    """InputError where a field is set that the format has no use for."""
    source, form = listed.source, listed.format
    plain = SourceConfig.model_fields
    only = {
        "fields": TABLES,
        "subset": TABLES,
        "split": TABLES,
        "revision": ("git",),
        "read": ("text", "git"),
        "encoding": ("text", "git", "csv"),
    }
    for field, formats in only.items():
        value = getattr(source, field)
        if value != plain[field].default and form not in formats:
            raise InputError(
                "ingest",
                f"source {source.name!r}: {field} = {value!r} is for {' and '.join(formats)}, and "
                f"this is {form}",
                f"remove ingest.sources.{field}, or state the format",
            )


def check_mapping(listed: Listed) -> None:
    """InputError where the first file that can be looked into lacks a mapped column."""
    check = {"parquet": check_parquet, "jsonl": check_lines, "csv": check_csv}.get(listed.format)
    for file in listed.files[:_CHECKED_FILES]:
        if check is not None and check(listed.source, file):
            return


def make_pieces(sources: Sequence[Listed]) -> Iterator[Piece]:
    """All pieces in the one order."""
    for i, listed in enumerate(sources):
        for file in listed.files:
            parts: list[tuple[Part | None, int]] = [(None, file.bytes)]
            if listed.format == "parquet":
                parts = split_groups(listed.source, file)
            for part, size in parts:
                yield Piece(i, listed.format, file, part, size, listed.dataset_licence)


def write_shards(folder: Path, pieces: Sequence[Piece], tasks: int) -> None:
    """One file of pieces for each shard, so that a shard's process holds no more than its own."""
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(piece.bytes + _BYTES_OF_OPENING for piece in pieces)
    shards: list[list[Piece]] = [[] for _ in range(tasks)]
    before = 0
    for piece in pieces:
        shards[min(before * tasks // max(total, 1), tasks - 1)].append(piece)
        before += piece.bytes + _BYTES_OF_OPENING
    for rank, shard in enumerate(shards):
        lines = (json.dumps(asdict(piece)) + "\n" for piece in shard)
        (folder / f"{rank:05}.jsonl").write_text("".join(lines))


def read_shard(folder: Path, rank: int) -> Iterator[Piece]:
    """The pieces of a shard, in order."""
    with (folder / f"{rank:05}.jsonl").open() as lines:
        for line in lines:
            record = json.loads(line)
            record["file"] = SourceFile(**record["file"])
            record["part"] = record["part"] and tuple(record["part"])
            yield Piece(**record)


def stamps(listed: Listed) -> Iterator[tuple[str, str]]:
    """(name, what changes with the content) of every file: its hash where it is a local file.

    A commit names the content of a repository; a store's file has the stamp that the store gives.
    """
    if listed.dataset_licence is not None:  # its README is not among the files
        yield f"{listed.source.name}/README.md", listed.dataset_licence
    for file in listed.files:
        name = f"{listed.source.name}/{file.name}"
        if file.trouble:
            continue
        if listed.format != "git" and local_path(listed.source.place) is not None:
            try:
                yield name, hash_file(Path(file.place))
            except OSError:  # it becomes a row in rejects
                continue
        else:
            yield name, f"{file.bytes} {file.stamp}"
