"""Trains a small model as one of the processes of `torchrun`: KIND MATRICES PARTS FILE.

Each process reads its own half of every batch, in PARTS accumulated parts; the first one writes the
losses and the weights.
"""

import faulthandler
import os
import sys

import torch
from safetensors.torch import save_file

from downstream.model import Llama, Shape
from downstream.optimizers import OptimizerConfig, make_optimizers
from downstream.parallel import accumulating, clip, gather, spread, start_world

SHAPE = Shape(60, 32, 2, 4, 2, 48, 64)
STEPS, SEQUENCES = 4, 8


def batch(step):
    return torch.randint(60, (SEQUENCES, 33), generator=torch.Generator().manual_seed(step % 2))


def main(kind, matrices, parts, target):
    faulthandler.dump_traceback_later(100, exit=True)  # a process that hangs must not stay
    torch.set_num_threads(1)
    # Muon in 32 bits: 16 would round what differs in the last bit to what differs in the second
    torch.cpu._is_avx512_bf16_supported = lambda: False
    world = start_world()
    model = Llama(SHAPE).initialize(1)
    trained = spread(model, world, kind)
    config = OptimizerConfig(matrices=matrices, weight_decay=0.1)
    optimizers = make_optimizers(trained, config, world.group)
    losses, norms = [], []
    for step in range(STEPS):
        pieces = batch(step).chunk(world.size)[world.rank].chunk(parts)
        total = torch.zeros(())
        for i, ids in enumerate(pieces):
            with accumulating(trained, last=i == parts - 1):
                loss = trained.loss_nats(ids, 0) / parts
                loss.backward()
            total += loss.detach()
        norms.append(clip(trained, 0.5))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(world.mean(total))
    weights = gather(trained)
    if world.rank == 0:
        save_file({**weights, "losses": torch.stack(losses), "norms": torch.stack(norms)}, target)
    world.end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
    os._exit(0)  # now and then gloo's threads wait for ever while the interpreter ends
