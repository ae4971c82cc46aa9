"""The filter's stage under Ray: what it seals is what this machine's own processes seal."""

import pytest
from filter_material import corpus, put

from conftest import Bench
from pipeline import apply_filter, train_filter
from pipeline.apply_filter import ApplyFilterConfig
from pipeline.errors import StageError
from pipeline.filter_config import TrainFilterConfig
from pipeline.manifest import hash_file

ray = pytest.importorskip("ray", reason="ray is not installed: uv pip install 'primer[ray]'")
SMALL = TrainFilterConfig(trees=30, corpus_sample=200, folds=3)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("ray"))
    put(bench, [row for row, _ in corpus()], files=4)
    bench.make(train_filter.STAGE, SMALL)
    bench.stages.append(train_filter.STAGE)
    return bench


def sealed(bench, **fields):
    made = bench.make(apply_filter.STAGE, SMALL, ApplyFilterConfig(tasks=3, **fields))
    return {name: hash_file(made.path / name) for name in made.manifest.files}


def test_no_cluster_at_the_address_is_one_clear_line(bench):
    with pytest.raises(StageError, match=r"127\.0\.0\.1:9.*no Ray cluster answers"):
        sealed(bench, executor={"kind": "ray", "address": "127.0.0.1:9"})


@pytest.mark.slow
def test_ray_seals_what_local_processes_seal(bench, tmp_path):
    here = sealed(bench, executor="local")
    (bench.run / "05-apply-filter").rename(tmp_path / "local")
    assert sealed(bench, executor="ray") == here
