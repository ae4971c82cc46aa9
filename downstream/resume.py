"""Checkpoints that a killed run goes on from, to the same bytes.

A checkpoint is one file with everything that the next step depends on: weights, optimizers, random
state, the guard's memory, the windows left out, how far the metrics had got. It is written under
another name, flushed to the disk and renamed, and only then is the one before it gone: whenever a
process is killed, a whole checkpoint is there. Tensors, numbers and lists only: no code in it is
ever run. Where processes hold parts of the model (FSDP) the first gathers them and writes for all,
so a training may go on with another number of processes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from downstream.parallel import World, gather
from pipeline.errors import InputError, StageError


@dataclass
class Parts:
    """The tensors that training changes."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    world: World

    def gather(self) -> dict[str, Any]:
        """The whole state, the same on any number of processes; all of them have to call it."""
        found = []
        for optimizer in self.optimizers:
            state = optimizer.state_dict()
            state["state"] = {
                number: {name: _whole(value) for name, value in of_one.items()}
                for number, of_one in state["state"].items()
            }
            found.append(state)
        return {"model": gather(self.model), "optimizers": found}

    def scatter(self, state: dict[str, Any]) -> None:
        """Take up what `gather` returned; every process reads the whole of it."""
        bare = getattr(self.model, "module", self.model)  # DDP wraps it
        now = bare.state_dict()
        bare.load_state_dict({n: _cut_like(now[n], w) for n, w in state["model"].items()})
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            moved = [p for group in optimizer.param_groups for p in group["params"]]
            parts = {
                number: {name: _cut_like(moved[number], value) for name, value in of_one.items()}
                for number, of_one in kept["state"].items()
            }
            optimizer.load_state_dict({**kept, "state": parts})


def _whole(value: Any) -> Any:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _cut_like(part: Tensor, whole: Any) -> Any:
    """This process's part of a whole tensor, cut as `part` is; a step's number stays whole."""
    if not isinstance(part, DTensor) or not isinstance(whole, Tensor) or whole.ndim == 0:
        return whole
    on_device = whole.to(part.device)
    return distribute_tensor(on_device, part.device_mesh, part.placements, src_data_rank=None)


def save_checkpoint(path: Path, parts: Parts, progress: dict[str, Any], plan: str) -> None:
    """Write a checkpoint whole or not at all; `plan` names the training that it belongs to."""
    state = {**parts.gather(), "progress": progress, "plan": plan, "random": _random_state()}
    if parts.world.rank == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".writing")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        _flush_folder(path.parent)
    parts.world.wait()


def load_checkpoint(path: Path, parts: Parts, plan: str) -> dict[str, Any]:
    """Take up a checkpoint and return its `progress`.

    Raises InputError where it belongs to another training, StageError where it is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        of_plan, progress = state["plan"], state["progress"]
    except Exception as error:  # what torch raises for a damaged file is not documented
        raise StageError(
            "train", f"{path} is damaged ({type(error).__name__})",
            "delete it, and train from the beginning",
        ) from error  # fmt: skip
    if of_plan != plan:
        raise InputError(
            "train", f"{path} belongs to a training with other settings or other data",
            "give the settings that it began with, or another directory",
        )  # fmt: skip
    parts.scatter(state)
    _set_random_state(state["random"])
    found: dict[str, Any] = progress
    return found


def _random_state() -> dict[str, Any]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _flush_folder(folder: Path) -> None:
    """Make the rename itself outlast a power failure."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
