"""Exact and near copies of a whole corpus, in bounded memory: who is a copy, and of whom.

Three passes, each over shards that run on any engine (docs/engines.md):

1. sketch: for every document its exact hash, its signature and the sorted keys of its bands, as
   runs on disk (`copies_runs`, `shingles`); another stage's pass may do it while it reads texts.
2. pair: documents that share a key, partition by partition, first of the exact hash, then of the
   32 bands (`copies_pairs`); then each pair is checked by both signatures (`copies_checks`).
3. unite: clusters, survivors and the rows of evidence, in this process (`copies_clusters`).

What is found depends on the documents and their order alone: not on shards, workers, memory or
engine. A killed pass goes on with the partitions that are not finished.

Memory is a promise of the recipe. What the passes hold is set by it; where it cannot be kept, the
number that is needed is told before any work. docs/copies.md has what was measured, the recall,
and what is missed.

Source: Broder (1997); Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3; Lee et
al., "Deduplicating Training Data Makes Language Models Better" (2021), arXiv 2107.06499.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.copies_checks import CheckShard
from pipeline.copies_clusters import DOCUMENT_BYTES, Clusters, unite_copies
from pipeline.copies_pair_files import read_pairs
from pipeline.copies_pairs import PairShard, partitions
from pipeline.copies_runs import list_runs
from pipeline.errors import InputError
from pipeline.executors import Executor, LocalExecutor
from pipeline.ledger import Ledger
from pipeline.near_copies import MINIMA
from pipeline.shards import run_shards
from pipeline.stage import Workplace

PROCESS_MIB = 320  # Python with Arrow, numba and datatrove
WORK_MIB = 160  # what a shard of any pass holds at least
MOST_DOCUMENTS = (1 << 32) - 1  # a position has 32 bits
_ENTRY_BYTES = 24  # of a partition while it is joined and sorted
_LEAST_ROOM, _MOST_ROOM = 1 << 20, 1 << 24  # entries
_RANK_DOCUMENTS = 50_000  # a rank is not worth starting for fewer


class CopiesConfig(Section):
    """What counts as a copy, and which one survives."""

    max_similarity: float = Field(
        0.8, ge=0.5, lt=1, description="Documents more alike are near copies (Jaccard, 5-grams)."
    )
    survivor: Literal["earliest", "highest_score"] = Field(
        "earliest", description="Which document of a cluster is kept: the earliest in source "
        "order, or the one of the highest score (of equal ones the earliest).",
    )  # fmt: skip
    score_field: str = Field(
        "score", description="The number in a document's metadata that highest_score goes by; a "
        "document without it is below all others.",
    )  # fmt: skip
    memory_mib: int = Field(
        4_096, ge=256, le=1 << 24, json_schema_extra=HOW,
        description="MiB that all processes together may hold while copies are sought.",
    )  # fmt: skip


def needed_mib(documents: int, workers: int) -> int:
    """The least `memory_mib` for so many documents: the workers', or the uniting process's."""
    uniting = ceil(documents * DOCUMENT_BYTES / (1 << 20))
    return PROCESS_MIB + max(workers * (PROCESS_MIB + WORK_MIB), WORK_MIB + uniting)


def check_memory(stage: str, config: CopiesConfig, documents: int, workers: int) -> None:
    """Raises InputError where the memory of the recipe cannot be enough."""
    needed = needed_mib(documents, workers)
    if documents > MOST_DOCUMENTS:
        raise InputError(
            stage, f"copies are sought among {documents:,} documents, at most {MOST_DOCUMENTS:,}",
            "cut the corpus",
        )  # fmt: skip
    if config.memory_mib < needed:
        raise InputError(
            stage,
            f"memory_mib is {config.memory_mib}, but finding copies among {documents:,} documents "
            f"with {workers} workers needs {needed}",
            f"set memory_mib to {needed} or more, or lower workers",
        )


@dataclass(frozen=True)
class Copies:
    """What was found."""

    documents: int
    compared: Ledger  # pairs of documents: compared, and more alike than the limit
    clusters: Clusters

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows of `copies_clusters.COPY` for every document that is dropped, in source order."""
        return self.clusters.batches()

    def of_shard(self, rank: int) -> Iterator[pa.RecordBatch]:
        """The rows of the documents that this rank of pass 1 sketched."""
        runs = [run for run in self.clusters.runs if run.shard == rank]
        if runs:
            yield from self.clusters.batches(runs[0].first, runs[-1].first + runs[-1].count)


def find_copies(
    place: Workplace,
    sketches: Path,
    config: CopiesConfig,
    workers: int,
    executor: Executor = LocalExecutor(),  # noqa: B008  # frozen
    earlier: int = 0,
) -> Copies:
    """Passes 2 and 3 over the runs that a pass 1 left below `sketches`.

    The first `earlier` shards are of earlier versions, whose documents survive in any case.
    """
    runs = tuple(list_runs(sketches))
    documents = sum(run.count for run in runs)
    check_memory(place.stage, config, documents, workers)
    room, home = _room(config, workers), (place.scratch / "copies").resolve()
    later = home / "exact_later.npy"

    def run(what: str, work: PairShard | CheckShard, most: int) -> Ledger:
        ranks = max(1, min(most, documents // _RANK_DOCUMENTS))
        return run_shards(place, what, work, "pairs", ranks, workers, executor)

    exact_pairs = PairShard("exact", runs, home / "exact", room)
    run("exact-copies", exact_pairs, len(partitions("exact", runs)))
    exact = np.sort(read_pairs(home / "exact", 0, documents))
    np.save(later, exact >> np.uint64(32))
    near_pairs = PairShard("bands", runs, home / "bands", room, later)
    run("copy-candidates", near_pairs, len(partitions("bands", runs)))
    least = MINIMA + 1 - ceil(MINIMA * (1 - config.max_similarity))
    check = CheckShard(runs, home / "bands", home / "confirmed", least)
    compared = run("copy-checks", check, len(runs))
    confirmed = (np.load(path) for path in sorted((home / "confirmed").glob("*.npy")))
    scored = config.survivor == "highest_score"
    before = sum(run.count for run in runs if run.shard < earlier)
    return Copies(documents, compared, unite_copies(runs, exact, confirmed, scored, before))


def _room(config: CopiesConfig, workers: int) -> int:
    """Entries of a partition that a worker may hold at once."""
    mib = (config.memory_mib - PROCESS_MIB) / workers - PROCESS_MIB - WORK_MIB / 2
    return int(min(_MOST_ROOM, max(_LEAST_ROOM, mib * (1 << 20) / _ENTRY_BYTES)))
