"""Stage 7: take out of every arm what shares a run of words with a benchmark, and show the words.

Words are compared without case, punctuation and white space. A document that shares 13 successive
words with a benchmark's text (GPT-3, arXiv 2005.14165, appendix C) is a hit, and so is one that
holds the whole of a text of 8 to 12 words; shorter texts match by chance and are not searched for.
Planted documents, where the recipe has some, measure what the search finds.

What it costs: one pass over all words, with a join only where a benchmark's run could begin.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.benchmark_items import BenchmarkConfig, read_items
from pipeline.config import HOW, Section
from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.manifest import hash_file
from pipeline.records import DOCUMENT, HIT, read_batches, read_rows, write_table
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Sections, Stage, Workplace
from pipeline.synthesize import DIRECTORIES

ARMS = ("raw", "kept", "kept+synthetic")
_WORD = re.compile(r"[^\W_]+")  # Markdown's _emphasis_ is punctuation too


class DecontaminateConfig(Section):
    """What must not be trained on."""

    benchmarks: tuple[BenchmarkConfig, ...] = Field(
        (), description="Benchmark files; with none, the card says that nothing was checked."
    )
    ngram_words: int = Field(13, ge=8, le=50, description="Successive words that make a hit.")
    min_item_words: int = Field(
        8, ge=5, le=50, description="Shorter texts of a benchmark are not searched for (words)."
    )
    planted_sources: tuple[str, ...] = Field(
        (), description="Sources of which every document holds a planted item and must be found."
    )
    workers: int = Field(
        2, ge=1, le=256, description="Files searched at once.", json_schema_extra=HOW
    )


@dataclass(frozen=True)
class Index:
    """Runs of words of the benchmarks: the run -> (benchmark, item), and where runs can begin."""

    runs: dict[str, tuple[str, str]]
    lengths: dict[str, tuple[int, ...]]  # first word -> lengths of the runs that begin with it

    def find(self, text: str) -> tuple[str, str, str] | None:
        """The first (benchmark, item, shared words) in a text, or None."""
        words = _WORD.findall(text.casefold())
        for i, word in enumerate(words):
            for length in self.lengths.get(word, ()):
                run = " ".join(words[i : i + length])
                if run in self.runs:
                    return *self.runs[run], run
        return None


def make_index(items: list[tuple[str, str, str]], config: DecontaminateConfig) -> Index:
    """The index of (benchmark, item, text) rows; the first item of a run keeps it."""
    runs: dict[str, tuple[str, str]] = {}
    lengths: dict[str, set[int]] = defaultdict(set)
    for benchmark, item, text in items:
        words = _WORD.findall(text.casefold())
        if len(words) < config.min_item_words:
            continue
        length = min(len(words), config.ngram_words)
        for i in range(len(words) - length + 1):
            runs.setdefault(" ".join(words[i : i + length]), (benchmark, item))
            lengths[words[i]].add(length)
    return Index(runs, {word: tuple(sorted(n)) for word, n in lengths.items()})


@dataclass(frozen=True)
class SearchFile:
    """One rank's work: the hits of one file."""

    index: Index
    files: list[Path]
    hits: Path

    def __call__(self, rank: int, world_size: int) -> Ledger:
        searched = Counter({"rows": 0})
        found = write_table(self.hits / f"{rank:05}.parquet", self._hits(rank, searched), HIT)
        return Ledger("documents", searched["rows"], searched["rows"] - found, {"hit": found})

    def _hits(self, rank: int, searched: Counter[str]) -> Iterator[dict[str, str]]:
        for row in read_rows([self.files[rank]], ["doc_id", "text"]):
            searched["rows"] += 1
            hit = self.index.find(row["text"])
            if hit is not None:
                benchmark, item, run = hit
                yield {
                    "doc_id": row["doc_id"],
                    "benchmark": benchmark,
                    "item": item,
                    "kind": "ngram",
                    "evidence": run,
                }


def decontaminate(place: Workplace) -> Outcome:
    """Search every document and piece once, then write the arms without the hits."""
    config = place.section(DecontaminateConfig)
    clean = place.needs["clean"].files("documents/*.parquet")
    kept = place.needs["apply-filter"].files("kept/*.parquet")
    written = place.needs["synthesize"]
    synthetic = [
        path for name in DIRECTORIES.values() for path in written.files(f"{name}/*.parquet")
    ]
    items = [(b.name, *item) for b in config.benchmarks for item in read_items(b)]
    files, scratch = [*clean, *synthetic], place.scratch / "hits"
    search = SearchFile(make_index(items, config), files, scratch)
    searched = run_shards(place, "searching", search, "documents", len(files), config.workers)
    hits = list(read_rows(sorted(scratch.iterdir())))
    write_table(place.out / "hits.parquet", hits, HIT)
    planted = _planted(clean, config.planted_sources)
    hit_ids = {row["doc_id"] for row in hits}
    _check_planted(planted, hit_ids, config)
    gone = pa.array(sorted(hit_ids | set(planted)), pa.string())
    arms = dict(zip(ARMS, (clean, kept, [*kept, *synthetic]), strict=True))
    rows = {name: _write_arm(place.out / "arms" / name, arms[name], gone) for name in ARMS}
    by_benchmark = Counter(row["benchmark"] for row in hits)
    _write_benchmarks(place.out / "benchmarks.json", config, items, by_benchmark)
    facts = {
        "documents_by_arm": rows,
        "hits": {b.name: by_benchmark[b.name] for b in config.benchmarks},
        "planted": len(planted),
        "planted_found": len(hit_ids & set(planted)),
        "planted_recall": 1.0 if planted else None,  # anything less has failed above
    }
    total = Ledger(
        "documents", searched.rows_in, searched.rows_in - len(gone), {"contaminated": len(gone)}
    )
    return Outcome(total, facts)


def _planted(paths: list[Path], sources: tuple[str, ...]) -> list[str]:
    """The ids of all documents of the planted sources, sorted."""
    wanted = pa.array(sources, pa.string())
    found: list[str] = []
    for batch in read_batches(paths, ["doc_id", "source"]):
        found += batch.filter(pc.is_in(batch["source"], value_set=wanted))["doc_id"].to_pylist()
    return sorted(found)


def _check_planted(planted: list[str], hits: set[str], config: DecontaminateConfig) -> None:
    missed = [doc_id for doc_id in planted if doc_id not in hits]
    if missed:
        raise StageError(
            "decontaminate",
            f"{len(missed)} of {len(planted)} planted documents were not found, such as "
            f"{missed[0]}",
            "lower decontaminate.ngram_words, or see that the planted items are in a benchmark",
        )
    if config.planted_sources and not planted:
        raise StageError(
            "decontaminate",
            f"no document of the planted sources {list(config.planted_sources)} came this far",
            "see 02-clean/dropped.parquet for the reason",
        )


def _write_arm(folder: Path, files: list[Path], gone: pa.Array) -> int:
    """One file for each that was read, without the documents that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = 0
    for i, file in enumerate(files):
        with pq.ParquetWriter(folder / f"{i:05}.parquet", DOCUMENT, compression="zstd") as writer:
            for batch in read_batches([file]):
                rest = batch.filter(pc.invert(pc.is_in(batch["doc_id"], value_set=gone)))
                writer.write_batch(rest)
                rows += rest.num_rows
    return rows


def _write_benchmarks(
    path: Path, config: DecontaminateConfig, items: list[tuple[str, str, str]], hits: Counter[str]
) -> None:
    texts = Counter(name for name, _, _ in items)
    report: list[dict[str, Any]] = [
        {
            "name": b.name,
            "sha256": hash_file(Path(b.path)),
            "fields": list(b.fields),
            "texts": texts[b.name],
            "documents_removed": hits[b.name],
        }
        for b in config.benchmarks
    ]
    path.write_text(json.dumps(report, indent=1) + "\n")


def _inputs(recipe: Sections) -> Iterator[tuple[str, Path]]:
    for benchmark in recipe.section(DecontaminateConfig).benchmarks:
        path = Path(benchmark.path)
        if not path.is_file():
            raise InputError(
                "decontaminate",
                f"benchmark {benchmark.name!r}: there is no file {path}",
                "correct decontaminate.benchmarks (paths are relative to the working directory)",
            )
        yield benchmark.name, path


STAGE = Stage(
    number=7,
    name="decontaminate",
    version=2,
    needs=("clean", "apply-filter", "synthesize"),
    makes=("hits.parquet", "benchmarks.json", *(f"arms/{arm}/*.parquet" for arm in ARMS)),
    sees=(DecontaminateConfig,),
    work=decontaminate,
    inputs=_inputs,
)
