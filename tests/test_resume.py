"""Checkpoints: a killed training ends with the same bytes, whenever it was killed."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from small_training import ALONE, new_job, run, train

from downstream import training_loop
from downstream.batches import Batches
from downstream.resume import Parts, load_checkpoint, save_checkpoint
from downstream.training_loop import Training
from pipeline.errors import InputError, StageError

SEALED = ("model.safetensors", "metrics.jsonl", "loss.png")


def parts():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    return Parts(model, [torch.optim.AdamW(model.parameters(), lr=0.1)], ALONE)


def step(one):
    one.model(torch.randn(3, 4)).square().mean().backward()
    one.optimizers[0].step()
    one.optimizers[0].zero_grad()


def left_by(job):
    return {name: (job.folder / name).read_bytes() for name in SEALED}


def test_all_that_the_next_step_depends_on_comes_back(tmp_path):
    one, other = parts(), parts()
    step(one)
    save_checkpoint(tmp_path / "c", one, {"step": 1}, "plan")
    for _ in range(2):
        step(one)  # which draws random numbers
    step(other)
    assert load_checkpoint(tmp_path / "c", other, "plan") == {"step": 1}
    for _ in range(2):
        step(other)
    assert torch.equal(one.model.weight, other.model.weight)


def test_a_checkpoint_of_before_the_first_step_forgets_the_steps(tmp_path):
    one = parts()
    first = one.model.weight.detach().clone()
    save_checkpoint(tmp_path / "c", one, {}, "plan")
    step(one)
    load_checkpoint(tmp_path / "c", one, "plan")
    assert torch.equal(one.model.weight, first)
    assert not one.optimizers[0].state


def test_the_last_checkpoint_stands_until_the_next_is_whole(tmp_path, monkeypatch):
    one = parts()
    save_checkpoint(tmp_path / "c", one, {"step": 0}, "plan")

    def torn(state, file):
        file.write(b"PK half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", torn)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path / "c", one, {"step": 7}, "plan")
    assert load_checkpoint(tmp_path / "c", one, "plan") == {"step": 0}


@pytest.mark.parametrize("keep_bytes", [0, 100, -1])
def test_a_damaged_checkpoint_is_named_with_its_cure(tmp_path, keep_bytes):
    save_checkpoint(tmp_path / "c", parts(), {}, "plan")
    whole = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(whole[:keep_bytes])
    with pytest.raises(StageError, match=r"train: .*/c is damaged \(.*\); delete it"):
        load_checkpoint(tmp_path / "c", parts(), "plan")


def test_a_checkpoint_runs_no_code(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"plan": "plan", "progress": Payload()}, tmp_path / "c")
    with pytest.raises(StageError, match="is damaged"):
        load_checkpoint(tmp_path / "c", parts(), "plan")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_other_settings_is_refused(bench):
    run(new_job(bench, steps=8))
    with pytest.raises(InputError, match="belongs to a training with other settings"):
        run(new_job(bench, steps=9))


def test_metrics_shorter_than_the_checkpoint_says_are_refused(bench):
    job = new_job(bench, steps=8)
    run(job)
    (job.folder / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(StageError, match=r"metrics\.jsonl is shorter than its checkpoint says"):
        run(job)


def test_stopped_anywhere_it_ends_with_the_same_bytes(bench, monkeypatch):
    undisturbed, job = new_job(bench, "undisturbed"), new_job(bench, "stopped")
    train(undisturbed)
    real, read, stops = Batches.at, [], []

    def at(self, number):
        read.append(number)
        if number > stops[-1]:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(Batches, "at", at)
    for last in (0, 6, 7, 12, 22):
        stops.append(last)
        read.clear()
        with pytest.raises(KeyboardInterrupt):
            train(job)
        assert read[0] % 7 == 0  # from a checkpoint
    stops.append(30)
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "finish", stopped)  # all is trained, nothing is saved
        with pytest.raises(KeyboardInterrupt):
            train(job)
    train(job)
    assert left_by(job) == left_by(undisturbed)


def stopped(*_):
    raise KeyboardInterrupt


def test_trouble_and_a_stop_together_end_with_the_same_bytes(bench, monkeypatch):
    real = Training._train_step

    def step_with_poison(self, number, ids_BT):
        if self.batches.turn_of(number) == (False, 9):
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("nan"))
        if number == self.stop_at:
            raise KeyboardInterrupt
        return real(self, number, ids_BT)

    monkeypatch.setattr(Training, "_train_step", step_with_poison)
    monkeypatch.setattr(Training, "stop_at", None, raising=False)
    undisturbed, job = new_job(bench, "undisturbed"), new_job(bench, "stopped")
    train(undisturbed)
    for stop_at in (10, 12, 16, 25):  # before the rollback, in its stretch, and after it
        monkeypatch.setattr(Training, "stop_at", stop_at)
        with pytest.raises(KeyboardInterrupt):
            train(job)
    monkeypatch.setattr(Training, "stop_at", None)
    train(job)
    assert left_by(job) == left_by(undisturbed)


@pytest.mark.long
def test_killed_at_random_moments_it_ends_with_the_same_bytes(bench):
    """A checkpoint at every step, so that many of the kills fall into the writing of one."""
    undisturbed = new_job(bench, "undisturbed", steps=120, checkpoint_steps=1, hidden=128)
    train(undisturbed)
    job = new_job(bench, "killed", steps=120, checkpoint_steps=1, hidden=128)
    script = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from conftest import Bench
        from small_training import new_job, train
        job = new_job(Bench(Path({str(bench.run)!r})), "killed", steps=120, checkpoint_steps=1,
                      hidden=128)
        print("begun", flush=True)
        train(job)
        print("done", flush=True)
    """)
    draw, kills, said = random.Random(11), 0, b""
    for _ in range(60):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"begun\n"
            time.sleep(draw.uniform(0.1, 1.0) if kills < 6 else 60)
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read()
        if said:
            break
        kills += 1
    assert (said, kills >= 3) == (b"done\n", True)
    assert left_by(job) == left_by(undisturbed)
