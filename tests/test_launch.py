"""`primer train` and torchrun: one loop, one result, on any number of processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from small_handoff import put_handoff
from small_training import ALONE, TINY

from downstream.launch import read_config, train_directory
from flows.train import train_from_handoff
from pipeline.errors import InputError, StageError

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    f"{name}={value}"
    for name, value in TINY.model_dump(exclude_unset=True).items()
    if name not in {"samples", "steps"}
] + ["steps=6", "samples=null", "sequences_per_micro_batch=2"]


def train(handoff, out, changes=SMALL, arm="kept", seed=7):
    return train_directory(handoff, arm, out, None, changes, seed, ALONE)


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss_nats"] for line in lines]


def test_what_is_not_said_is_as_the_handoff_suggests(bench):
    _, handoff = put_handoff(bench)
    config = read_config(handoff, None, ["sequences_per_step=2"])
    suggested = handoff.suggestion
    assert (config.preset, config.decay_share) == (suggested.preset, suggested.decay_share)
    assert config.steps == suggested.tokens // config.tokens_per_step
    own = read_config(handoff, None, ["hidden=64", "steps=5", "optimizer.adamw_betas=[0.8, 0.9]"])
    assert (own.preset, own.hidden, own.steps) == (None, 64, 5)
    assert own.optimizer.adamw_betas == (0.8, 0.9)
    assert read_config(handoff, "15M", ["tokens_per_parameter=20"]).preset == "15M"
    assert read_config(handoff, None, [], 4).parallel == "ddp"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("steps", "write field=value"),
        ("steps=1", r"steps: input should be greater than or equal to 2"),
        ("optimizer.speed=3", r"optimizer\.speed: extra inputs are not permitted; the fields are"),
        ("steps.of=3", "steps: input should be a valid integer"),
        ("preset=3M", "'3m' is not one of"),
        ("steps=[", "write field=value"),
        ("steps=2024-13-45", "write field=value"),  # YAML takes it for a day
    ],
)
def test_a_setting_that_cannot_be_is_named(bench, change, told):
    _, handoff = put_handoff(bench)
    with pytest.raises(InputError, match=told):
        read_config(handoff, None, [change])


def test_a_model_that_is_there_is_not_trained_again(bench, tmp_path):
    path, _ = put_handoff(bench)
    first = train(path, tmp_path / "out")
    assert first["steps"] == 6
    assert not (tmp_path / "out" / "work").exists()
    assert train(path.parent, tmp_path / "out") == first  # with the very seconds of the first time
    with pytest.raises(InputError, match="holds a model of other settings"):
        train(path, tmp_path / "out", seed=8)


def test_where_no_model_can_be_put_is_refused(bench, tmp_path):
    path, _ = put_handoff(bench)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "model.safetensors").write_bytes(b"somebody's")
    with pytest.raises(InputError, match="holds a model that this command did not make"):
        train(path, foreign)
    assert (foreign / "model.safetensors").read_bytes() == b"somebody's"
    (foreign / "trained.json").write_text("{")
    for out in (foreign, foreign / "model.safetensors"):
        with pytest.raises(InputError, match=f"--out {out} cannot be used"):
            train(path, out)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_cannot_be_is_refused(bench, tmp_path, seed):
    path, _ = put_handoff(bench)
    with pytest.raises(InputError, match=f"--seed {seed}"):
        train(path, tmp_path / "out", seed=seed)


def test_a_handoff_that_does_not_verify_is_refused(bench, tmp_path):
    path, handoff = put_handoff(bench)
    shard = path.parent / handoff.arms[1].anneal[0].path
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StageError, match="is not the file that was handed over"):
        train(path, tmp_path / "out")
    with pytest.raises(InputError, match="is not a handoff"):
        train(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_its_figures(bench, tmp_path, capsys):
    path, _ = put_handoff(bench)
    out = tmp_path / "out"
    train_from_handoff(Console(width=100), path, "raw", out, None, SMALL, 7)
    told = capsys.readouterr().out
    assert "bits per byte" in told
    assert "held-out byte" in told
    assert "mfu" not in told
    assert "samples.md are in" in told


KILLED_AT_STEP_23 = """
import os, signal, sys
from downstream.batches import Batches
from downstream.launch import main
real = Batches.at
def at(self, step):
    if step == 23:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, step)
Batches.at = at
sys.exit(main())
"""


def launch(processes, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={processes}", "-m", "downstream.launch", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def settings(*more):
    return [part for change in (*SMALL, *more) for part in ("--set", change)]


@pytest.mark.long
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does(bench, tmp_path, parallel):
    path, _ = put_handoff(bench)
    train(path, tmp_path / "one")
    done = launch(2, path, "--arm", "kept", "--seed", "7", "--out", tmp_path / "two",
                  *settings(f"parallel={parallel}"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 6
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    assert losses(tmp_path / "two")[0] == pytest.approx(losses(tmp_path / "one")[0], rel=1e-6)


@pytest.mark.parametrize(
    ("parallel", "processes"),
    [
        pytest.param("ddp", 1, marks=pytest.mark.slow),
        pytest.param("fsdp", 1, marks=pytest.mark.long),
        pytest.param("fsdp", 2, marks=pytest.mark.slow),
    ],
)
def test_what_two_processes_left_others_go_on_from(bench, tmp_path, parallel, processes):
    """Killed in the middle on two processes, finished on one, or on two again."""
    path, _ = put_handoff(bench)
    long = settings("steps=40", "checkpoint_steps=5", f"parallel={parallel}")
    whole = launch(2, path, "--arm", "kept", "--seed", "7", "--out", tmp_path / "whole", *long)
    assert whole.returncode == 0, whole.stderr
    out, script = tmp_path / "killed", tmp_path / "killed.py"
    script.write_text(KILLED_AT_STEP_23)
    killed = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(script), str(path), "--arm", "kept", "--seed", "7", "--out", str(out), *long],
        cwd=ROOT, capture_output=True, check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert killed.returncode != 0
    assert (out / "work" / "checkpoint").exists()
    done = launch(processes, path, "--arm", "kept", "--seed", "7", "--out", out, *long)
    assert done.returncode == 0, done.stderr
    assert len(losses(out)) == 40
    assert losses(out) == pytest.approx(losses(tmp_path / "whole"), rel=2e-3)


@pytest.mark.slow
def test_processes_that_would_not_share_are_refused(bench, tmp_path):
    path, _ = put_handoff(bench)
    done = launch(2, path, "--arm", "kept", "--out", tmp_path / "out", *settings("parallel=none"))
    assert done.returncode != 0
    assert "primer: train: train.parallel is none, and there are 2 processes" in done.stderr
