"""What a model reads at each step: windows of an arm's shards in a seeded order.

`base` is read until the rate decays, then `anneal`. Which windows a step reads depends on the step
alone, so a resumed run reads on where it was, and all arms read in the same order of windows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.handoff_record import Arm, Handoff, Shard

if TYPE_CHECKING:
    from torch import Tensor


class Batches:
    """Batches of an arm: `at(step)` gives ids of shape (sequences, tokens + 1)."""

    def __init__(
        self, root: Path, handoff: Handoff, arm: Arm, seed: int, shape: tuple[int, int],
        base_steps: int,
    ) -> None:  # fmt: skip
        self.sequences, self.tokens = shape
        self.base_steps, self.seed = base_steps, seed
        self._base = _read(root, arm.base, handoff.token_dtype)
        self._anneal = _read(root, arm.anneal, handoff.token_dtype)

    def at(self, step: int) -> Tensor:
        """The token ids of one step, int64."""
        import torch

        late = step >= self.base_steps
        part = self._anneal if late else self._base
        turn = step - self.base_steps if late else step
        windows = max(1, (len(part) - 1) // self.tokens)
        rows = []
        for i in range(turn * self.sequences, (turn + 1) * self.sequences):
            epoch, place = divmod(i, windows)
            order = np.random.default_rng([self.seed, int(late), epoch]).permutation(windows)
            begin = int(order[place]) * self.tokens
            rows.append(np.resize(part[begin : begin + self.tokens + 1], self.tokens + 1))
        return torch.from_numpy(np.stack(rows).astype(np.int64))


def _read(root: Path, shards: list[Shard], dtype: str) -> np.ndarray[Any, Any]:
    little = np.dtype(dtype).newbyteorder("<")
    return np.concatenate([np.memmap(root / s.path, little, "r") for s in shards])
