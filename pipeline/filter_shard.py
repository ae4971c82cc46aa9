"""Read, score, write: the work on one shard of documents.

One datatrove step owns read, score and write. Documents stay Arrow record batches from Parquet to
Parquet: none ever becomes a Python object, and memory is that of one batch, however long the
shard. Rank r takes the files r, r + world_size, and so on; each file gives one file of scores, row
for row, and one file of kept documents, which may have no rows.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus_files import open_parquet, record_batches
from pipeline.document_batch import Batch
from pipeline.drift_count import DriftCount
from pipeline.drift_reference import open_reference
from pipeline.kept_files import RowGroups, Writer, writing
from pipeline.ledger import Ledger
from pipeline.records import DOCUMENT, SCORE

if TYPE_CHECKING:
    from classifiers.drift import Reference
    from classifiers.scorer import Scorer

SCORES_PER_GROUP = 65_536
_UNLIKE = ("doc_id", "text", "url_or_path", "metadata")  # columns whose values hardly repeat
_BINS = 20


@dataclass
class Tally:
    """What was seen in one file, or in all."""

    documents: int = 0  # with a score
    kept: int = 0
    text_bytes: int = 0
    kept_bytes: int = 0
    best: float = 0.0  # of what the threshold is on
    seconds: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)  # by reason

    def __post_init__(self) -> None:
        self.histogram = np.zeros(_BINS, np.int64)

    def add(self, score: Any, judged: Any, keep: Any, sizes: Any) -> None:
        self.documents += len(score)
        self.kept += int(keep.sum())
        self.text_bytes += int(sizes.sum())
        self.kept_bytes += int(sizes[keep].sum())
        self.best = max(self.best, float(judged.max(initial=0.0)))
        self.histogram += np.histogram(score, bins=_BINS, range=(0, 1))[0]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "histogram": self.histogram.tolist()}

    def add_json(self, other: dict[str, Any]) -> None:
        for name in ("documents", "kept", "text_bytes", "kept_bytes", "seconds"):
            setattr(self, name, getattr(self, name) + other[name])
        self.best = max(self.best, other["best"])
        self.failed.update(other["failed"])
        self.histogram += other["histogram"]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_json()))

    def add_saved(self, path: Path) -> None:
        self.add_json(json.loads(path.read_text()))

    @property
    def ledger(self) -> Ledger:
        """In = kept + below the threshold + failed by reason."""
        below = self.documents - self.kept
        return Ledger(
            "documents",
            self.documents + self.failed.total(),
            self.kept,
            {"below_threshold": below} if below else {},
            dict(sorted(self.failed.items())),
        )


def filter_batch(
    scorer: Scorer,
    batch: Batch,
    scores: Writer,
    kept: Writer,
    tally: Tally,
    drift: DriftCount | None = None,
) -> None:
    """Score the documents of a batch, and write the scores of all and the rows of the kept."""
    tally.failed.update(fault.reason for fault in batch.faults)
    features = scorer.features.transform(batch.texts, batch.kinds)
    score, expected = scorer.judge(features)
    if drift is not None:
        drift.add(batch, features, score, expected)
    keep = scorer.decision.keep(score, expected)
    sizes = pc.binary_length(batch.texts).to_numpy(zero_copy_only=False)
    tally.add(score, score if scorer.decision.by == "score" else expected, keep, sizes)
    columns = [batch.ids, *(pa.array(column) for column in (score, expected, keep))]
    scores.write(pa.record_batch(columns, schema=SCORE))
    if keep.any():
        kept.write(batch.rows if keep.all() else batch.rows.filter(pa.array(keep)))


@dataclass(frozen=True)
class FilterShard:
    """The work of one rank on a run's documents: every `world_size`-th file."""

    model: Path
    files: tuple[Path, ...]
    out: Path
    tallies: Path
    drifts: Path | None = None  # a file for each file, where the model has a reference
    drift_every: int | None = None  # one in so many documents is compared with it; None for none
    drift_kept: int = 0  # documents of a stratum that may be labelled next

    def __call__(self, rank: int, world_size: int) -> Ledger:
        from classifiers.scorer import Scorer

        ledgers = []
        if rank < len(self.files):
            scorer = Scorer.open(self.model)
            reference = open_reference(self.model) if self.drift_every else None
            for number in range(rank, len(self.files), world_size):
                source = self.files[number]
                tally = self.filter_file(scorer, source, f"{number:05}", reference)
                ledgers.append(tally.ledger)
        return Ledger.total("documents", ledgers)

    def filter_file(
        self, scorer: Scorer, source: Path, number: str, reference: Reference | None = None
    ) -> Tally:
        """One file from reading to writing, and what was seen in it."""
        tally, clock = Tally(), time.perf_counter()
        drift = None
        if reference is not None and self.drift_every is not None:
            drift = DriftCount(reference, source.name, self.drift_every, self.drift_kept)
        with ExitStack() as files:
            scores = files.enter_context(writing(f"{self.out}/scores/{number}.parquet", scores_in))
            kept = files.enter_context(writing(f"{self.out}/kept/{number}.parquet", _documents_in))
            for batch in _read_documents(source):
                filter_batch(scorer, batch, scores, kept, tally, drift)
        if drift is not None and self.drifts is not None:
            drift.save(self.drifts / f"{number}.json")
        tally.seconds = time.perf_counter() - clock
        tally.save(self.tallies / f"{number}.json")
        return tally


def scores_in(path: Path) -> RowGroups:
    """A file of scores, row for row with the documents."""
    return RowGroups(path, SCORE, ("doc_id",), SCORES_PER_GROUP)


def _documents_in(path: Path) -> RowGroups:
    return RowGroups(path, DOCUMENT, _UNLIKE)


def _read_documents(path: Path) -> Iterator[Batch]:
    with open_parquet(path) as parquet:
        for rows in record_batches(parquet, DOCUMENT.names):
            yield Batch(rows, rows["text"], rows["kind"], rows["doc_id"])
