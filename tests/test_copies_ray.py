"""Copies sought under Ray: the same rows as in this machine's own processes.

pytest -m slow tests/test_copies_ray.py
"""

from importlib.util import find_spec

import pytest
from copies_material import copies_of, corpus
from ray_cluster import ray_cluster, token

from pipeline import copies
from pipeline.executors import RayExecutor

pytestmark = [
    pytest.mark.skipif(
        find_spec("ray") is None, reason="ray is not installed: uv pip install 'primer[ray]'"
    ),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in token().items():
            environment.setenv(name, value)
        with ray_cluster() as cluster:
            yield cluster


def test_two_nodes_find_what_this_process_finds(cluster, tmp_path, monkeypatch):
    rows = corpus()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = copies_of(tmp_path / "here", rows)
    monkeypatch.setattr(copies, "_RANK_DOCUMENTS", 50)
    ray = RayExecutor(address=cluster.address)
    there = copies_of(tmp_path / "there", rows, shards=4, workers=2, executor=ray)
    assert len(here) > 20
    assert there == here
