"""Stage 5: score every document, keep the good ones; `pipeline.filter_shard` does the work.

A version with a parent scores its new documents alone, and `kept/` holds those; the scores of all
earlier versions are linked below `scores/earlier/`, since every document of the arms has one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.drift_count import add_saved
from pipeline.drift_reference import open_reference
from pipeline.drift_report import DRIFT, NEXT_SAMPLE, DriftConfig, write_drift, write_no_drift
from pipeline.errors import StageError
from pipeline.executors import Executor, LocalExecutor
from pipeline.filter_shard import FilterShard, Tally
from pipeline.increment import IncrementConfig, VersionedStage, grown, link_file, parent_stage
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Sealed, Workplace

_NAME = "apply-filter"
_EARLIER = "scores/earlier"


class ApplyFilterConfig(Section):
    """How the work of scoring is shared out."""

    tasks: int = Field(2, ge=1, le=100_000, description="Shards that the clean files are dealt to.")
    workers: int = Field(
        2, ge=1, le=1_024, description="Shards worked on at a time.", json_schema_extra=HOW
    )
    executor: Executor = Field(
        LocalExecutor(),
        description="Where they are worked on: local, ray or slurm, or one of these with settings.",
        json_schema_extra=HOW,
    )
    drift: DriftConfig | None = Field(
        DriftConfig(),
        description="Comparison with the filter's training sample; null for none.",
    )


def apply_filter(place: Workplace) -> Outcome:
    """Score all clean documents with the trained filter, and write those it keeps once."""
    config = place.section(ApplyFilterConfig)
    model, parent = place.needs["train-filter"], parent_stage(place)
    files = tuple(place.needs["clean"].files("documents/*.parquet"))
    tallies, drifts = place.scratch / "tallies", place.scratch / "drifts"
    for directory in (tallies, drifts, place.out / "scores", place.out / "kept"):
        directory.mkdir(parents=True, exist_ok=True)
    every = _drift_every(files, config.drift)
    kept = config.drift.sample if config.drift else 0
    work = FilterShard(model.path, files, place.out, tallies, drifts, every, kept)
    ledger = run_shards(
        place, "filter", work, "documents", config.tasks, config.workers, config.executor
    )
    whole = Tally()
    for path in sorted(tallies.iterdir()):
        whole.add_saved(path)
    if whole.kept == 0 and parent is None:
        raise StageError(
            _NAME,
            f"no document of {whole.documents} is above the threshold "
            f"({model.facts['threshold_by']} >= {model.facts['threshold']:.4f}); "
            f"the best is {whole.best:.4f}",
            "lower train_filter.purpose.value for a precision or an expected score, "
            "or label more documents",
        )
    drift = _judge_drift(place, model.path, drifts, config.drift, every)
    if parent is not None:
        _link_scores(parent, place.out)
    return Outcome(ledger, {**_facts(whole), "drift": drift, **grown(parent, ("kept_share",))})


def _link_scores(parent: Sealed, out: Path) -> None:
    """All scores of the parent, those of its ancestors under the names that they have there."""
    files = parent.files("scores/*.parquet")
    earlier = [path for path in files if path.parent.name != "scores"]
    for number, path in enumerate([*earlier, *(path for path in files if path not in earlier)]):
        link_file(path, out / _EARLIER / f"{number:05}.parquet")


def _drift_every(files: Sequence[Path], config: DriftConfig | None) -> int | None:
    """One in so many documents is compared with the training sample."""
    if config is None:
        return None
    documents: int = sum(pq.read_metadata(path).num_rows for path in files)
    return max(1, documents // config.documents)


def _judge_drift(
    place: Workplace, model: Path, drifts: Path, config: DriftConfig | None, every: int | None
) -> dict[str, Any] | None:
    reference = open_reference(model)
    if reference is None or config is None or every is None:
        write_no_drift(str(place.out))
        return None
    saved = [json.loads(path.read_text()) for path in sorted(drifts.iterdir())]
    count = add_saved(reference, saved, every, config.sample)
    return write_drift(str(place.out), f"{place.run}/{STAGE.directory}", reference, count, config)


def _facts(whole: Tally) -> dict[str, Any]:
    return {
        "kept_share": whole.kept / max(whole.documents, 1),
        "kept_share_bytes": whole.kept_bytes / max(whole.text_bytes, 1),
        "score_histogram": whole.histogram.tolist(),
        "best": whole.best,
        "documents_per_s": round(whole.documents / max(whole.seconds, 1e-9)),  # of one worker
    }


STAGE = VersionedStage(
    number=5,
    name=_NAME,
    version=3,
    needs=("clean", "train-filter"),
    makes=("scores/*.parquet", "kept/*.parquet", DRIFT, NEXT_SAMPLE),
    sees=(ApplyFilterConfig, IncrementConfig),
    work=apply_filter,
)
