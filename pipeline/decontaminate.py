"""Stage 7: take out of every arm what leaks a benchmark, and show both texts side by side.

Three searches, each told in its own file: the same words in any dress (`leak_index`), the same
program under other names (`leak_code`), and, where an encoder is given, the same meaning
(`leak_meaning`). Planted documents and planted items, where the recipe asks for them, measure what
the searches find (`leak_plants`).

A version with a parent searches its new documents and pieces alone, and appends them to the
parent's arms (`appended_arms`). Benchmarks must be those of the parent: what it searched is not
searched again.

What it costs: over 5,000 documents a second and core against 22,600 items of 15 benchmarks
(docs/decontamination.md), and a few seconds before for the indexes.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from pydantic import Field, field_validator

from pipeline.appended_arms import bring_arms, grown_facts, synthetic_files
from pipeline.arms import ARMS, write_arms
from pipeline.benchmark_items import BenchmarkConfig, read_items
from pipeline.config import HOW
from pipeline.errors import InputError, StageError
from pipeline.increment import IncrementConfig, VersionedStage, link_file, open_stage, parent_stage
from pipeline.leak_plants import PlantedConfig, by_dress, measure_recall
from pipeline.leak_records import LEAK
from pipeline.leak_search import LeakSearch, SearchRules
from pipeline.leak_verdicts import make_verdicts
from pipeline.ledger import Ledger
from pipeline.records import read_batches, read_rows, write_table
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Sections, Workplace

__all__ = ["ARMS", "STAGE", "DecontaminateConfig", "decontaminate"]


class DecontaminateConfig(SearchRules):
    """What must not be trained on."""

    benchmarks: tuple[BenchmarkConfig, ...] = Field(
        (), description="Benchmark files; with none, the card says that nothing was checked."
    )
    planted_sources: tuple[str, ...] = Field(
        (), description="Sources of which every document holds a planted item and must be found."
    )
    planted: PlantedConfig | None = Field(
        None, description="Plant items in every dress and measure the recall; null: do not."
    )
    workers: int = Field(
        2, ge=1, le=256, description="Files searched at once.", json_schema_extra=HOW
    )

    @field_validator("benchmarks")
    @classmethod
    def _have_their_names(cls, value: tuple[BenchmarkConfig, ...]) -> tuple[BenchmarkConfig, ...]:
        names = [benchmark.name for benchmark in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two benchmarks have the name {twice[0]!r}")
        return value


@dataclass(frozen=True)
class SearchFile:
    """One rank's work: the leaks of one file."""

    search: LeakSearch
    files: list[Path]
    leaks: Path

    def __call__(self, rank: int, world_size: int) -> Ledger:
        found: set[str] = set()
        searched = 0

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal searched
            for batch in read_batches([self.files[rank]], ["doc_id", "text"]):
                searched += batch.num_rows
                for row in self.search.find(batch["text"], batch["doc_id"].to_pylist()):
                    found.add(row["doc_id"])
                    yield row

        write_table(self.leaks / f"{rank:05}.parquet", rows(), LEAK)
        return Ledger("documents", searched, searched - len(found), {"hit": len(found)})


def decontaminate(place: Workplace) -> Outcome:
    """Search every document and piece once, then write the arms without the leaks."""
    config, parent = place.section(DecontaminateConfig), parent_stage(place)
    clean = place.needs["clean"].files("documents/*.parquet")
    kept = place.needs["apply-filter"].files("kept/*.parquet")
    synthetic = synthetic_files(place.needs["synthesize"])
    items = [item for b in config.benchmarks for item in read_items(b)]
    search = LeakSearch.of(items, config)
    files, scratch = [*clean, *synthetic], place.scratch / "hits"
    work = SearchFile(search, files, scratch)
    searched = run_shards(place, "searching", work, "documents", len(files), config.workers)
    parts = sorted(scratch.iterdir())
    hits = [*([parent.file("hits.parquet")] if parent else []), *parts]  # of all versions
    write_table(place.out / "hits.parquet", read_rows(hits), LEAK)
    hit_ids = {row["doc_id"] for row in read_rows(parts, ["doc_id"])}
    planted = _planted(clean, config.planted_sources)
    _check_planted(planted, hit_ids, config, parent is None)
    gone = hit_ids | set(planted)
    first = bring_arms(parent, place.out) if parent else None
    rows = write_arms(place.out / "arms", clean, kept, synthetic, gone, place.seed, first)
    verdicts = make_verdicts(
        config.benchmarks, items, search.searched,
        read_rows(hits, ["doc_id", "benchmark", "item", "kind"]),
    )  # fmt: skip
    _write_json(place.out / "benchmarks.json", verdicts)
    if parent is not None:  # the search is the same, and so is what it finds
        link_file(parent.file("planted.json"), place.out / "planted.json")
    else:
        _write_json(place.out / "planted.json", _recall(place, search, config, clean, gone))
    recall = json.loads((place.out / "planted.json").read_text())
    facts = {
        "documents_by_arm": rows,
        "hits": {v["name"]: v["documents_removed"] for v in verdicts},
        "items_leaked": {v["name"]: v["items_leaked"] for v in verdicts},
        "planted": len(planted),
        "planted_found": len(hit_ids & set(planted)),
        "planted_recall": 1.0 if planted else None,  # anything less has failed above
        "recall_by_dress": recall and {r["dress"]: r["recall"] for r in recall["by_dress"]},
    }
    total = Ledger(
        "documents", searched.rows_in, searched.rows_in - len(gone), {"contaminated": len(gone)}
    )
    if parent is not None and first is not None:
        facts |= grown_facts(parent, facts, first)
    return Outcome(total, facts)


def _recall(
    place: Workplace, search: LeakSearch, config: DecontaminateConfig, clean: list[Path],
    gone: set[str],
) -> dict[str, Any] | None:  # fmt: skip
    """What the search finds of items planted in this corpus's own pages; None where not asked."""
    if config.planted is None or not search.items:
        return None
    pages = _pages(clean, config.planted, gone)
    rng = np.random.default_rng([place.seed, 7])
    rows = measure_recall(search, pages, config.planted, rng)
    return {"pages": len(pages), "by_dress": by_dress(rows), "by_benchmark": rows}


def _pages(paths: list[Path], config: PlantedConfig, gone: set[str]) -> list[str]:
    """Long pages without a leak: those with the first ids, which are hashes, so any sample."""
    long = (
        row
        for row in read_rows(paths, ["doc_id", "text", "kind"])
        if row["kind"] == "web" and len(row["text"]) >= config.min_page_chars
    )
    first = heapq.nsmallest(
        config.pages, (r for r in long if r["doc_id"] not in gone), key=lambda r: str(r["doc_id"])
    )
    return [str(row["text"]) for row in first]


def _planted(paths: list[Path], sources: tuple[str, ...]) -> list[str]:
    """The ids of all documents of the planted sources, sorted."""
    import pyarrow as pa

    wanted = pa.array(sources, pa.string())
    found: list[str] = []
    for batch in read_batches(paths, ["doc_id", "source"]):
        found += batch.filter(pc.is_in(batch["source"], value_set=wanted))["doc_id"].to_pylist()
    return sorted(found)


def _check_planted(
    planted: list[str], hits: set[str], config: DecontaminateConfig, all_there: bool
) -> None:
    """Raises StageError where a planted leak was missed, or none came this far at all."""
    missed = [doc_id for doc_id in planted if doc_id not in hits]
    if missed:
        raise StageError(
            "decontaminate",
            f"{len(missed)} of {len(planted)} planted documents were not found, such as "
            f"{missed[0]}",
            "lower decontaminate.ngram_words, or see that the planted items are in a benchmark",
        )
    if all_there and config.planted_sources and not planted:
        raise StageError(
            "decontaminate",
            f"no document of the planted sources {list(config.planted_sources)} came this far",
            "see 02-clean/dropped.parquet for the reason",
        )


def _write_json(path: Path, record: Any) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n")


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


class _DecontaminateStage(VersionedStage):
    """What is searched for must stay the same from version to version."""

    def hash_inputs(self, recipe: Sections) -> str:
        """The benchmarks' files; InputError where they are not those of the parent."""
        found = super().hash_inputs(recipe)
        parent = recipe.section(IncrementConfig).parent
        if parent is not None and open_stage(parent, self.name).manifest.inputs_sha256 != found:
            raise InputError(
                self.name,
                f"the benchmarks' files are not those that {parent} was searched for",
                "bring them back, or run the recipe as a dataset of its own, without a parent",
            )
        return found


STAGE = _DecontaminateStage(
    number=7,
    name="decontaminate",
    version=4,
    needs=("clean", "apply-filter", "synthesize"),
    makes=(
        "hits.parquet", "benchmarks.json", "planted.json",
        *(f"arms/{arm}/*.parquet" for arm in ARMS),
    ),
    sees=(DecontaminateConfig, IncrementConfig),
    work=decontaminate,
    inputs=_inputs,
)  # fmt: skip
