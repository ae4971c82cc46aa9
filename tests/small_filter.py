"""One small trained filter for the tests of the commands that use one, made once a process."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from filter_material import put

from conftest import Bench
from pipeline.filter_config import TrainFilterConfig
from pipeline.train_filter import STAGE

SMALL = TrainFilterConfig(trees=20, corpus_sample=200, folds=2, workers=1)


@functools.cache
def small_filter() -> Path:
    """The directory of a run that has only a filter."""
    folder = Path(tempfile.mkdtemp(prefix="small-filter-"))
    atexit.register(shutil.rmtree, folder)
    bench = Bench(folder / "run")
    put(bench)
    bench.make(STAGE, SMALL)
    return folder / "run"
