"""One small trained filter for the tests of the commands that use one, made once."""

import functools
from pathlib import Path

from filter_material import put
from made_once import made_once

from conftest import Bench
from pipeline.filter_config import TrainFilterConfig
from pipeline.train_filter import STAGE

SMALL = TrainFilterConfig(trees=20, corpus_sample=200, folds=2, workers=1)


@functools.cache
def small_filter() -> Path:
    """The directory of a run that has only a filter."""
    return made_once("small-filter", _make) / "run"


def _make(folder: Path) -> None:
    bench = Bench(folder / "run")
    put(bench)
    bench.make(STAGE, SMALL)
