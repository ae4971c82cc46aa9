"""Two processes on this machine train as one does: losses, norms of gradients, weights."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import parallel_child
import pytest
import torch
from safetensors.torch import load_file

from downstream.model import Llama
from downstream.parallel import gather, sharded_precision, spread, start_world

CHILD = Path(parallel_child.__file__)


def trained(folder, processes, kind, matrices, parts):
    target = folder / f"{processes}-{kind}-{parts}.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[1]), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={processes}", CHILD, kind, matrices, str(parts), target],
        env=environment, check=True, timeout=200,
    )  # fmt: skip
    return load_file(target)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process trains, by what moves the matrices."""
    folder = tmp_path_factory.mktemp("alone")
    return functools.cache(lambda matrices: trained(folder, 1, "none", matrices, 1))


@pytest.mark.parametrize(
    ("kind", "matrices", "parts"),
    [
        pytest.param("ddp", "adamw", 2, marks=pytest.mark.long),
        pytest.param("fsdp", "muon", 2, marks=pytest.mark.long),
        pytest.param("ddp", "muon", 1, marks=pytest.mark.slow),
        pytest.param("fsdp", "adamw", 1, marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one(tmp_path, alone, kind, matrices, parts):
    single = alone(matrices)
    together = trained(tmp_path, 2, kind, matrices, parts)
    first = Llama(parallel_child.SHAPE).initialize(1).state_dict()
    assert single.keys() == together.keys() == {*first, "losses", "norms"}
    assert single["losses"][2] < single["losses"][0]  # the same texts, seen once more
    for figure in ("losses", "norms"):
        torch.testing.assert_close(together[figure], single[figure], atol=1e-4, rtol=1e-3)
    for name, before in first.items():
        moved = (single[name] - before).norm()
        assert moved > 0
        assert (together[name] - single[name]).norm() < 0.01 * moved, name


def test_one_process_stands_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = start_world()
    assert (world.rank, world.size, world.group) == (0, 1, None)
    model = Llama(parallel_child.SHAPE).initialize(1)
    assert spread(model, world, "fsdp") is model
    for name, weight in gather(model).items():
        assert torch.equal(weight, model.state_dict()[name])
    assert world.mean(torch.tensor(3.0)) == 3.0


def test_shards_are_sent_in_the_precision_that_the_settings_say():
    gpu = torch.device("cuda")
    assert sharded_precision(gpu, "bfloat16").param_dtype == torch.bfloat16
    assert sharded_precision(gpu, "bfloat16").reduce_dtype == torch.float32
    for device, precision in ((gpu, "float32"), (torch.device("cpu"), "bfloat16")):
        assert sharded_precision(device, precision).param_dtype is None
