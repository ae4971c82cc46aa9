"""One model on several processes, as `torchrun` starts them: gloo on CPUs, NCCL on GPUs.

"ddp" keeps the whole model in each process and averages gradients while the backward pass runs;
"fsdp" (`fully_shard`, https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html) keeps
a share of every weight, gradient and optimizer state in each and puts a block together when it is
needed: for models that one GPU cannot hold. Each process reads its own sequences; the loss of a
step is the mean of theirs, so all should count alike.

`spread` returns what to call `loss_nats` on; weights and saving stay with the model itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from downstream.model import Llama, loss_nats


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The group of all processes; null where there is one."""
        return dist.group.WORLD if self.size > 1 else None

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def end(self) -> None:
        """Leave the group together: one that leaves early can make gloo wait for ever."""
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()


def start_world() -> World:
    """Join the processes that `torchrun` started, or stand alone."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else "cpu"
    device = torch.device(device)
    if gpu:
        torch.cuda.set_device(device)
    if "WORLD_SIZE" not in os.environ:
        return World(0, 1, device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo", device_id=device if gpu else None)
    return World(dist.get_rank(), dist.get_world_size(), device)


class Replicated(DistributedDataParallel):
    """A model in each process, with the loss of a Llama."""

    def loss_nats(
        self, ids_BT: Tensor, end_of_text: int | None = None, weights_BT: Tensor | None = None
    ) -> Tensor:
        """The loss of this process's sequences."""
        return loss_nats(self, ids_BT, end_of_text, weights_BT)


def spread(
    model: Llama, world: World, kind: Literal["none", "ddp", "fsdp"], precision: str = "bfloat16"
) -> Llama | Replicated:
    """The model on its device and, where there are several processes, on all of theirs.

    Compile blocks before, make optimizers after: `fully_shard` replaces the parameters.
    """
    model.to(world.device)
    if world.size == 1 or kind == "none":
        return model
    gpu = world.device.type == "cuda"
    if kind == "ddp":
        if gpu:  # it would cut compiled blocks in parts, which flex attention does not allow
            torch._dynamo.config.optimize_ddp = False
        return Replicated(
            model, device_ids=[world.device] if gpu else None, gradient_as_bucket_view=True
        )
    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = sharded_precision(world.device, precision)
    for block in model.layers:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


def sharded_precision(device: torch.device, precision: str) -> MixedPrecisionPolicy:
    """What FSDP sends: weights in 16 bits where a GPU computes in them, sums always in 32."""
    if device.type == "cuda" and precision == "bfloat16":
        return MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    return MixedPrecisionPolicy()


@contextmanager
def accumulating(model: nn.Module, last: bool) -> Iterator[None]:
    """Within it, gradients are sent to the others only where this is a step's last part."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    yield


def clip(model: nn.Module, largest: float) -> Tensor:
    """Scale the gradients down to a norm; returns what it was, over all processes."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), largest)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def gather(model: nn.Module) -> dict[str, Tensor]:
    """All weights, whole, on the CPU; every process has to call it."""
    return {
        name.removeprefix("module."): (w.full_tensor() if isinstance(w, DTensor) else w).cpu()
        for name, w in model.state_dict().items()
    }
