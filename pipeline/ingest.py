"""Stage 1: read every source into documents; what cannot be read becomes a row in rejects.

A source is a tree of files, tables, archives, a dataset or git repositories. Each record is kept
as a document, dropped (nothing in it to keep) or failed (could not be read), one by one, and never
lost. A document's address is relative to its source, so that the same source gives the same ids on
every machine. Memory is flat: a shard holds one batch of documents, whatever the files hold. A
version with a parent reads only the files that no ancestor has seen (`seen`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from pipeline.archives import ArchiveConfig
from pipeline.config import HOW, Section
from pipeline.errors import InputError
from pipeline.extraction import ExtractionConfig
from pipeline.increment import IncrementConfig, VersionedStage, grown, open_stage, parent_stage
from pipeline.ledger import Ledger
from pipeline.manifest import hash_json
from pipeline.read_record import Record, make_document, make_reject
from pipeline.read_source import Limits, read_piece
from pipeline.records import DOCUMENT, REJECT, ROWS_PER_GROUP, read_rows, write_table
from pipeline.seen import SEEN, News, find_news
from pipeline.shards import run_shards
from pipeline.sources import SourceConfig
from pipeline.sources_plan import (
    Listed,
    check_mapping,
    list_source,
    make_pieces,
    read_shard,
    stamps,
    write_shards,
)
from pipeline.stage import Outcome, Sections, Workplace

_BATCH_BYTES = 32 << 20  # of text that is held before it is written
_MARK_BYTES = 4 << 20  # a shard says how far it is after about so many


class IngestConfig(Section):
    """Where the raw material is."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="What to read, in order.")
    max_document_bytes: int = Field(
        1_000_000, ge=1_000, description="A larger record is rejected as too_large (bytes)."
    )
    archives: ArchiveConfig = Field(ArchiveConfig(), description="Limits of WARC, WET and ARC.")
    extraction: ExtractionConfig = Field(
        ExtractionConfig(), description="How the text of archived HTML is found."
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


@dataclass(frozen=True)
class ReadShard:
    """The work of one rank: its run of pieces, in order."""

    config: IngestConfig
    plan: Path
    marks: Path
    documents: Path
    rejects: Path

    def __call__(self, rank: int, world_size: int) -> Ledger:
        dropped: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        read = kept = 0
        name = f"{rank:05}.parquet"
        with (
            _Writer(self.documents / name, DOCUMENT) as documents,
            _Writer(self.rejects / name, REJECT) as rejects,
        ):
            for source, found in self._read(rank):
                read += 1
                if isinstance(found, Record):
                    documents.add(make_document(source, found), len(found.text))
                    kept += 1
                else:
                    rejects.add(make_reject(source, found), len(found.evidence))
                    (dropped if found.dropped else failed)[found.reason] += 1
        return Ledger("records", read, kept, dict(dropped), dict(failed))

    def _read(self, rank: int) -> Iterator[tuple[SourceConfig, Any]]:
        config = self.config
        limits = Limits(config.max_document_bytes, config.archives, config.extraction)
        done = marked = 0
        for piece in read_shard(self.plan, rank):
            source = config.sources[piece.source]
            for found in read_piece(source, piece, limits):
                yield source, found
            done += piece.bytes
            if done - marked >= _MARK_BYTES:
                (self.marks / f"{rank:05}").write_text(str(done))
                marked = done
        (self.marks / f"{rank:05}").write_text(str(done))


class _Writer:
    """Rows as one Parquet file, in row groups bounded in rows and in bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.schema = schema
        self.file = pq.ParquetWriter(path, schema, compression="zstd")
        self.rows: list[dict[str, Any]] = []
        self.bytes = 0

    def add(self, row: dict[str, Any], size: int) -> None:
        self.rows.append(row)
        self.bytes += size
        if len(self.rows) == ROWS_PER_GROUP or self.bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.file.write_batch(pa.RecordBatch.from_pylist(self.rows, schema=self.schema))
            self.rows, self.bytes = [], 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.file.close()


def list_sources(config: IngestConfig) -> list[Listed]:
    """Every source with its files; InputError where the recipe is wrong about one."""
    return [list_source(source) for source in config.sources]


def find_new_files(recipe: Sections) -> News:
    """What a recipe's sources hold that its parent, if it has one, has not seen."""
    parent = recipe.section(IncrementConfig).parent
    seen = None if parent is None else open_stage(parent, "ingest")
    return find_news(list_sources(recipe.section(IngestConfig)), seen)


def ingest(place: Workplace) -> Outcome:
    """Read all sources into `documents/`, `rejects.parquet` and `seen.parquet`."""
    config, parent = place.section(IngestConfig), parent_stage(place)
    news = find_news(list_sources(config), parent)
    if parent is not None and news.files == 0:
        raise InputError(
            place.stage, f"no source has a file that {parent.path.parent} has not seen",
            "wait for new files",
        )  # fmt: skip
    sources = news.new
    for listed in sources:
        check_mapping(listed)
    plan, marks, rejects = (place.scratch / name for name in ("plan", "marks", "rejects"))
    marks.mkdir(exist_ok=True)
    write_shards(plan, list(make_pieces(sources)), config.tasks)
    work = ReadShard(config, plan, marks, place.out / "documents", rejects)
    with _bar_of_bytes(place, marks, sum(listed.bytes for listed in sources)):
        ledger = run_shards(place, "reading", work, "records", config.tasks, config.workers)
    if ledger.kept == 0 and parent is None:
        raise InputError(
            "ingest", f"none of {ledger.rows_in} records gave a document", "look at the sources"
        )
    write_table(place.out / "rejects.parquet", read_rows(sorted(rejects.iterdir())), REJECT)
    news.write(place.out / SEEN)
    facts = {"files_by_source": {s.source.name: len(s.files) for s in sources}}
    if parent is not None:
        facts |= news.facts() | grown(parent)
    return Outcome(ledger, facts)


@contextmanager
def _bar_of_bytes(place: Workplace, marks: Path, total: int) -> Iterator[None]:
    """A bar of the megabytes read, from the marks that the shards leave wherever they run."""
    over = threading.Event()

    def watch(advance: Any) -> None:
        seen = 0
        while not over.wait(0.5):
            done = sum(int(mark.read_text() or 0) for mark in marks.iterdir()) // 1_000_000
            advance(done - seen)
            seen = done

    with place.bar("MB read", total // 1_000_000) as advance:
        watcher = threading.Thread(target=watch, args=(advance,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


class _IngestStage(VersionedStage):
    """Its inputs are not all local files, which a stage hashes: a store's have stamps."""

    def hash_inputs(self, recipe: Sections) -> str:
        """One hash over the names and contents of all files, mistakes in the recipe found first."""
        sources = list_sources(recipe.section(IngestConfig))
        for listed in sources:
            check_mapping(listed)
        return hash_json(sorted(pair for listed in sources for pair in stamps(listed)))


STAGE = _IngestStage(
    number=1,
    name="ingest",
    version=3,
    needs=(),
    makes=("documents/*.parquet", "rejects.parquet", SEEN),
    sees=(IngestConfig, IncrementConfig),
    work=ingest,
)
