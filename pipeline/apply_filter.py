"""Stage 5: score every document, keep the good ones.

One datatrove step owns read, score and write. Documents stay Arrow record batches from Parquet to
Parquet: none ever becomes a Python object, and memory is that of one batch, however long the
shard. Rank r takes the clean files r, r + world_size, and so on; each clean file gives one file of
scores, row for row, and one file of kept documents, which may have no rows.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.records import DOCUMENT, SCORE, read_batches
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Stage, Workplace

if TYPE_CHECKING:
    from classifiers.scorer import Scorer

_NAME = "apply-filter"
_BINS = 20


class ApplyFilterConfig(Section):
    """How the work of scoring is shared out."""

    tasks: int = Field(2, ge=1, le=100_000, description="Shards that the clean files are dealt to.")
    workers: int = Field(
        2, ge=1, le=1_024, description="Shards worked on at a time.", json_schema_extra=HOW
    )


@dataclass
class Tally:
    """What was seen in one file, or in all."""

    documents: int = 0
    kept: int = 0
    text_bytes: int = 0
    kept_bytes: int = 0
    best: float = 0.0  # of what the threshold is on
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.histogram = np.zeros(_BINS, np.int64)

    def add(self, score: Any, judged: Any, keep: Any, sizes: Any) -> None:
        self.documents += len(score)
        self.kept += int(keep.sum())
        self.text_bytes += int(sizes.sum())
        self.kept_bytes += int(sizes[keep].sum())
        self.best = max(self.best, float(judged.max(initial=0.0)))
        self.histogram += np.histogram(score, bins=_BINS, range=(0, 1))[0]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({**vars(self), "histogram": self.histogram.tolist()}))

    def add_saved(self, path: Path) -> None:
        other = json.loads(path.read_text())
        for name in ("documents", "kept", "text_bytes", "kept_bytes", "seconds"):
            setattr(self, name, getattr(self, name) + other[name])
        self.best = max(self.best, other["best"])
        self.histogram += other["histogram"]


@dataclass(frozen=True)
class FilterShard:
    """The work of one rank: every `world_size`-th file, from reading to writing."""

    model: Path
    files: tuple[Path, ...]
    out: Path
    tallies: Path

    def __call__(self, rank: int, world_size: int) -> Ledger:
        from classifiers.scorer import Scorer

        kept = documents = 0
        if rank < len(self.files):
            scorer = Scorer.open(self.model)
            for number in range(rank, len(self.files), world_size):
                tally = self._filter_file(scorer, self.files[number], f"{number:05}")
                kept, documents = kept + tally.kept, documents + tally.documents
        below = documents - kept
        return Ledger("documents", documents, kept, {"below_threshold": below} if below else {})

    def _filter_file(self, scorer: Scorer, source: Path, number: str) -> Tally:
        tally, clock = Tally(), time.perf_counter()
        with ExitStack() as open_files:
            scores = open_files.enter_context(_writer(self.out / "scores", number, SCORE))
            chosen = open_files.enter_context(_writer(self.out / "kept", number, DOCUMENT))
            for batch in read_batches([source], DOCUMENT.names):
                score, expected, keep = scorer.score(batch["text"], batch["kind"])
                sizes = pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False)
                judged = score if scorer.decision.by == "score" else expected
                tally.add(score, judged, keep, sizes)
                columns = [batch["doc_id"], score, expected, keep]
                scores.write_batch(pa.record_batch([pa.array(c) for c in columns], schema=SCORE))
                if keep.any():
                    chosen.write_batch(batch.filter(pa.array(keep)).cast(DOCUMENT))
        tally.seconds = time.perf_counter() - clock
        tally.save(self.tallies / f"{number}.json")
        return tally


def apply_filter(place: Workplace) -> Outcome:
    """Score all clean documents with the trained filter, and write those it keeps once."""
    config = place.section(ApplyFilterConfig)
    model = place.needs["train-filter"]
    files = tuple(place.needs["clean"].files("documents/*.parquet"))
    tallies = place.scratch / "tallies"
    for directory in (tallies, place.out / "scores", place.out / "kept"):
        directory.mkdir(parents=True, exist_ok=True)
    work = FilterShard(model.path, files, place.out, tallies)
    ledger = run_shards(place, "filter", work, "documents", config.tasks, config.workers)
    whole = Tally()
    for path in sorted(tallies.iterdir()):
        whole.add_saved(path)
    if whole.kept == 0:
        raise StageError(
            _NAME,
            f"no document of {whole.documents} is above the threshold "
            f"({model.facts['threshold_by']} >= {model.facts['threshold']:.4f}); "
            f"the best is {whole.best:.4f}",
            "lower train_filter.purpose.value for a precision or an expected score, "
            "or label more documents",
        )
    return Outcome(ledger, _facts(whole))


def _facts(whole: Tally) -> dict[str, Any]:
    return {
        "kept_share": whole.kept / whole.documents,
        "kept_share_bytes": whole.kept_bytes / max(whole.text_bytes, 1),
        "score_histogram": whole.histogram.tolist(),
        "best": whole.best,
        "documents_per_s": round(whole.documents / max(whole.seconds, 1e-9)),  # of one worker
    }


def _writer(directory: Path, number: str, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(directory / f"{number}.parquet", schema, compression="zstd")


STAGE = Stage(
    number=5,
    name=_NAME,
    version=1,
    needs=("clean", "train-filter"),
    makes=("scores/*.parquet", "kept/*.parquet"),
    sees=(ApplyFilterConfig,),
    work=apply_filter,
)
