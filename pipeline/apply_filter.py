"""Stage 5: score every document, keep the good ones; `pipeline.filter_shard` does the work."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.errors import StageError
from pipeline.executors import Executor, LocalExecutor
from pipeline.filter_shard import FilterShard, Tally
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Stage, Workplace

_NAME = "apply-filter"


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


def apply_filter(place: Workplace) -> Outcome:
    """Score all clean documents with the trained filter, and write those it keeps once."""
    config = place.section(ApplyFilterConfig)
    model = place.needs["train-filter"]
    files = tuple(place.needs["clean"].files("documents/*.parquet"))
    tallies = place.scratch / "tallies"
    for directory in (tallies, place.out / "scores", place.out / "kept"):
        directory.mkdir(parents=True, exist_ok=True)
    work = FilterShard(model.path, files, place.out, tallies)
    ledger = run_shards(
        place, "filter", work, "documents", config.tasks, config.workers, config.executor
    )
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


STAGE = Stage(
    number=5,
    name=_NAME,
    version=2,
    needs=("clean", "train-filter"),
    makes=("scores/*.parquet", "kept/*.parquet"),
    sees=(ApplyFilterConfig,),
    work=apply_filter,
)
