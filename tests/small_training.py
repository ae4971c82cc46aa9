"""Trainings of a few seconds on the small handoff, without the stage around them."""

from contextlib import nullcontext

import torch
from small_handoff import put_handoff

from downstream.parallel import World
from downstream.train import SIZES, TrainConfig
from downstream.training_loop import Job, Training, train_model

ALONE = World(0, 1, torch.device("cpu"))
TINY = TrainConfig(
    hidden=64, layers=1, heads=2, kv_heads=1, feed_forward=64, sequence_tokens=32, steps=30,
    threads=1, checkpoint_steps=7, sequences_per_micro_batch=3, validation_bytes=4_000,
    validation_steps=10, samples=None,
)  # fmt: skip


def changed(**fields):
    """TINY with other fields, checked as a recipe's are."""
    given = TINY.model_dump(exclude_unset=True)
    if {"initial", "preset"} & fields.keys():  # they settle the sizes
        given = {name: value for name, value in given.items() if name not in SIZES}
    return TrainConfig.model_validate({**given, **fields})


def new_job(bench, name="model", seed=7, arm=0, **fields):
    """A job on the small handoff; jobs of one bench share it."""
    path, handoff = put_handoff(bench)
    folder = path.parents[1] / name
    return Job(
        changed(**fields), handoff, path.parent, handoff.arms[arm], seed, folder,
        folder / "work" / "checkpoint",
    )  # fmt: skip


def no_bar(steps):
    """Nobody watches."""
    return nullcontext(lambda *step, **note: None)


def run(job, world=ALONE):
    """Train to the end and return what is left in memory."""
    training = Training(job, world)
    training.run(lambda *step, **note: None)
    return training


def train(job, world=ALONE):
    """Train and save; returns the figures."""
    return train_model(job, world, no_bar)


def losses(training_or_rows):
    """The loss of every step, nats."""
    rows = getattr(training_or_rows, "metrics", None)
    return [row["loss_nats"] for row in (rows.rows() if rows else training_or_rows)]
