"""What a model reads at each step: windows of an arm's shards in a seeded order.

The stream of an arm is one long row of documents, each with its end-of-text token; a window is cut
from it wherever it falls, so no token is padding and none is left out but a rest shorter than a
window, whose place changes with the epoch. `base` is read until the rate decays, then `anneal`.
Which windows a step reads depends on the step and on what the guard had skipped, and on nothing
else: a resumed run reads on where it was, all arms read in the same order, and several processes
share the windows of the step that one process would have read. Shards are memory-mapped; an epoch's
order costs 8 bytes a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.handoff_record import Arm, Handoff, Shard

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Turn = tuple[bool, int]  # whether it is of `anneal`, and which of its batches


@dataclass(frozen=True)
class Portion:
    """The sizes of a step's batch, and which part of it this process reads."""

    sequences: int
    tokens: int
    rank: int = 0
    ranks: int = 1


class Stream:
    """The tokens of several shards as one row, which is never in memory as a whole."""

    def __init__(self, root: Path, shards: Sequence[Shard], dtype: str) -> None:
        little = np.dtype(dtype).newbyteorder("<")
        self._maps = [np.memmap(root / s.path, little, "r") for s in shards if s.tokens]
        self._ends = np.cumsum([len(m) for m in self._maps])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._maps else 0

    def read(self, begin: int, count: int) -> np.ndarray[Any, Any]:
        """`count` ids from `begin` on, int64; at its end the stream begins again."""
        ids = np.empty(count, np.int64)
        done = 0
        while done < count:
            place = (begin + done) % len(self)
            shard = int(np.searchsorted(self._ends, place, side="right"))
            of_it = place - int(self._ends[shard]) + len(self._maps[shard])
            piece = self._maps[shard][of_it : of_it + count - done]
            ids[done : done + len(piece)] = piece
            done += len(piece)
        return ids


class Batches:
    """Batches of an arm: `at(step)` gives this process's ids, (sequences / ranks, tokens + 1)."""

    def __init__(
        self, root: Path, handoff: Handoff, arm: Arm, seed: int, portion: Portion, base_steps: int
    ) -> None:
        if portion.sequences % portion.ranks:
            raise InputError(
                "train",
                f"{portion.sequences} sequences a step cannot be shared by {portion.ranks} ranks",
                "make train.sequences_per_step a multiple of the processes",
            )
        self.seed, self.portion, self.base_steps = seed, portion, base_steps
        self.skipped: list[Turn] = []
        self._streams = [
            Stream(root, shards, handoff.token_dtype) for shards in (arm.base, arm.anneal)
        ]
        for part, stream, steps in zip(
            ("base", "anneal"), self._streams, (base_steps, 1), strict=True
        ):
            if steps and not len(stream):
                raise InputError(
                    "train", f"arm {arm.name} has no tokens in {part}",
                    "make tokenize.anneal_share such that both parts get documents",
                )  # fmt: skip
        self._order: tuple[bool, int, int, np.ndarray[Any, Any]] | None = None

    def at(self, step: int) -> Tensor:
        """The token ids of one step, int64."""
        import torch

        late, turn = self.turn_of(step)
        p = self.portion
        own = p.sequences // p.ranks
        first = turn * p.sequences + p.rank * own
        return torch.from_numpy(
            np.stack([self._window(late, i) for i in range(first, first + own)])
        )

    def turn_of(self, step: int) -> Turn:
        """Which batch of its part a step reads: the next that was not skipped."""
        late = step >= self.base_steps
        turn = step - self.base_steps if late else step
        for skipped in sorted(number for part, number in self.skipped if part == late):
            turn += skipped <= turn
        return late, turn

    def skip(self, steps: Sequence[int]) -> None:
        """Never again read what these steps read."""
        self.skipped += [self.turn_of(step) for step in steps]

    def _window(self, late: bool, number: int) -> np.ndarray[Any, Any]:
        stream, tokens = self._streams[late], self.portion.tokens
        windows = max(1, (len(stream) - 1) // tokens)
        epoch, place = divmod(number, windows)
        if self._order is None or self._order[:2] != (late, epoch):
            generator = np.random.default_rng([self.seed, int(late), epoch])
            order = generator.permutation(windows)
            rest = max(0, len(stream) - 1 - windows * tokens)
            self._order = late, epoch, int(generator.integers(0, rest + 1)), order
        _, _, shift, order = self._order
        return stream.read(shift + int(order[place]) * tokens, tokens + 1)


def read_ahead(
    read: Callable[[int], Tensor], steps: range, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """Each step with its ids on the device; for an accelerator a thread reads the next meanwhile.

    On the CPU there is nothing to hide behind, and a thread would take a core.
    """
    if device.type == "cpu":
        for step in steps:
            yield step, read(step)
        return

    def pinned(step: int) -> Tensor:
        return read(step).pin_memory()

    with ThreadPoolExecutor(1, "read-ahead") as pool:
        coming = pool.submit(pinned, steps.start) if steps else None
        for step in steps:
            assert coming is not None
            ids = coming.result()
            if step + 1 in steps:
                coming = pool.submit(pinned, step + 1)
            yield step, ids.to(device, non_blocking=True)
