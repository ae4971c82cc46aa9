"""The one door from a piece of a source to its records, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pipeline.archives import ArchiveConfig
from pipeline.extraction import ExtractionConfig
from pipeline.read_archive import read_archive
from pipeline.read_csv import read_csv
from pipeline.read_git import read_git
from pipeline.read_lines import read_lines
from pipeline.read_notebook import read_notebook_file
from pipeline.read_parquet import read_parquet
from pipeline.read_record import Record, Refusal
from pipeline.read_text import read_text_file
from pipeline.sources import SourceConfig
from pipeline.sources_plan import Piece


@dataclass(frozen=True)
class Limits:
    """What a record may take, whatever its source."""

    max_document_bytes: int
    archives: ArchiveConfig = field(default_factory=ArchiveConfig)
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)


def read_piece(source: SourceConfig, piece: Piece, limits: Limits) -> Iterator[Record | Refusal]:
    """The records of a file, or of a part of it, in order, and the refusals between them."""
    for found in _read(source, piece, limits):
        if isinstance(found, Record) and piece.dataset_licence is not None:
            metadata = {**found.metadata, "dataset_licence": piece.dataset_licence}
            yield replace(found, metadata=metadata)
        else:
            yield found


def _read(source: SourceConfig, piece: Piece, limits: Limits) -> Iterator[Record | Refusal]:
    file, max_bytes = piece.file, limits.max_document_bytes
    match piece.format:
        case "jsonl":
            yield from read_lines(source, file, max_bytes)
        case "csv":
            yield from read_csv(source, file, max_bytes)
        case "parquet":
            yield from read_parquet(source, file, piece.part, max_bytes)
        case "git":
            yield from read_git(source, file, max_bytes)
        case "archive":
            yield from read_archive(source, file, max_bytes, limits.archives, limits.extraction)
        case "text":
            if file.suffix == ".ipynb" and source.read == "text":
                yield from read_notebook_file(source, file, max_bytes)
            else:
                yield from read_text_file(source, file, max_bytes)
