"""The filter's stage under Ray: what it seals is what this machine's own processes seal.

    pytest -m slow tests/test_ray.py

The cluster is real: two nodes on loopback, of which the last test kills one.
"""

import time
from functools import partial
from importlib.util import find_spec
from threading import Thread

import pytest
from filter_material import clean_with, corpus, put
from noted_shard import NotedShard, nodes_of
from ray_cluster import HEAD, SECOND, ray_cluster, token

from conftest import Bench
from pipeline import apply_filter, train_filter
from pipeline.apply_filter import ApplyFilterConfig
from pipeline.errors import StageError
from pipeline.executors import RayExecutor
from pipeline.filter_config import TrainFilterConfig
from pipeline.manifest import hash_file
from pipeline.shards import run_shards
from pipeline.stage import Workplace

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="ray is not installed: uv pip install 'primer[ray]'"
)
SMALL = TrainFilterConfig(trees=30, corpus_sample=200, folds=3)


@pytest.fixture(scope="module", autouse=True)
def _token():
    """Ray would else write one to the home directory of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in token().items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster(_token):
    with ray_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("bench"))
    put(bench, [row for row, _ in corpus()], files=4)
    bench.make(train_filter.STAGE, SMALL)
    bench.stages.append(train_filter.STAGE)
    return bench


@pytest.fixture(scope="module")
def here(bench, tmp_path_factory):
    return sealed(bench, tmp_path_factory.mktemp("local") / "here", executor="local")


def sealed(bench, aside, **fields):
    """The hashes of the sealed files, which are moved aside."""
    made = bench.make(apply_filter.STAGE, SMALL, ApplyFilterConfig(tasks=4, **fields))
    hashes = {name: hash_file(made.path / name) for name in made.manifest.files}
    made.path.rename(aside)
    return hashes


def test_no_cluster_at_the_address_is_one_clear_line(tmp_path):
    place = Workplace("apply-filter", tmp_path / "out", tmp_path, 0, {}, {})
    nowhere = RayExecutor(address="127.0.0.1:9")
    with pytest.raises(StageError, match=r"127\.0\.0\.1:9.*no Ray cluster answers"):
        run_shards(place, "filter", never, "documents", 1, 1, nowhere)


def never(rank, world_size):
    raise AssertionError


@pytest.mark.slow
def test_a_cluster_of_this_machine_alone_seals_the_same(bench, here, tmp_path):
    assert sealed(bench, tmp_path / "ray", executor="ray") == here


@pytest.mark.slow
def test_a_shard_that_no_node_can_hold_is_one_clear_line(bench, cluster, tmp_path):
    wanted = {"kind": "ray", "address": cluster.address, "cpus_per_task": 2}
    with pytest.raises(StageError, match=r"no living node .* has 2 CPUs for one shard"):
        sealed(bench, tmp_path / "none", executor=wanted)


@pytest.fixture
def noted(bench, cluster, tmp_path, monkeypatch):
    """Seal on the cluster with work that takes notes."""
    notes = tmp_path / "notes"
    notes.mkdir()

    def seal(**options):
        work = partial(NotedShard, notes=notes, **options)
        monkeypatch.setattr(apply_filter, "FilterShard", work)
        joined = {"kind": "ray", "address": cluster.address}
        return sealed(bench, tmp_path / "ray", executor=joined)

    seal.notes = notes
    return seal


@pytest.mark.slow
def test_a_rank_that_fails_is_named_and_the_others_stay_done(noted, here):
    with pytest.raises(
        StageError, match=r"shard 1 failed under Ray \(ValueError: no bread .*see .*task_00001\.log"
    ):
        noted(fails_at=1)
    done = set(nodes_of(noted.notes)) - {1}
    assert 0 in done
    for path in noted.notes.iterdir():
        path.unlink()
    assert noted() == here
    assert not done & set(nodes_of(noted.notes))


@pytest.mark.slow
def test_both_nodes_work(noted, here):
    assert noted(pause_s=0.5) == here
    assert set.union(*nodes_of(noted.notes).values()) == {HEAD, SECOND}


@pytest.mark.slow
def test_a_node_that_dies_at_work_costs_no_row(noted, here, cluster):
    """The last test of the cluster, of which one node is left."""

    def kill_it_at_work():
        while not list(noted.notes.glob(f"*-{SECOND}")):
            time.sleep(0.1)
        cluster.second.kill()

    killer = Thread(target=kill_it_at_work, daemon=True)
    killer.start()
    assert noted(pause_s=3) == here
    killer.join(20)
    nodes = nodes_of(noted.notes)
    assert set(nodes) == {0, 1, 2, 3}
    assert [seen for seen in nodes.values() if seen == {HEAD, SECOND}], "none was begun again"


@pytest.mark.slow
def test_clean_with_all_its_passes_seals_the_same(cluster, tmp_path):
    there = {"kind": "ray", "address": cluster.address}
    assert clean_with(tmp_path / "there", there) == clean_with(tmp_path / "here", "local")
