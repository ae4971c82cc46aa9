"""Windows of token shards, for trainers of other makes. Needs NumPy and PyTorch alone.

An export of a handoff copies this file beside the configuration, so that it runs where Primer is
not installed. Items are in the order of training: windows of `base` in a seeded order, going round
with a new order each time, then those of `anneal`. Read them in order, do not shuffle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset


class Windows(Dataset[torch.Tensor]):
    """`counts[i]` windows of `tokens` tokens of the shards (`*.ds`) in `folders[i]`, as int64."""

    def __init__(
        self, folders: list[str], counts: list[int], tokens: int, token_dtype: str, seed: int
    ) -> None:
        dtype = np.dtype(token_dtype).newbyteorder("<")
        self.counts, self.tokens, self.seed = counts, tokens, seed
        self.parts = [
            [np.memmap(path, dtype, "r") for path in sorted(Path(folder).glob("*.ds"))]
            for folder in folders
        ]
        self.windows = [[len(shard) // tokens for shard in part] for part in self.parts]
        for folder, windows in zip(folders, self.windows, strict=True):
            if not sum(windows):
                raise ValueError(f"{folder} has no shard of {tokens} tokens; use a shorter window")
        self.orders: dict[int, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        return sum(self.counts)

    def __getitem__(self, item: int) -> torch.Tensor:
        part = 0
        while item >= self.counts[part]:
            item -= self.counts[part]
            part += 1
        epoch, place = divmod(item, sum(self.windows[part]))
        at = int(self._order(part, epoch)[place])
        for shard, windows in zip(self.parts[part], self.windows[part], strict=True):
            if at < windows:
                ids = shard[at * self.tokens : (at + 1) * self.tokens]
                return torch.from_numpy(ids.astype(np.int64))
            at -= windows
        raise IndexError(item)

    def _order(self, part: int, epoch: int) -> np.ndarray:
        """The order of a part's windows in this epoch; the last one made is remembered."""
        if part not in self.orders or self.orders[part][0] != epoch:
            rng = np.random.default_rng([self.seed, part, epoch])
            self.orders[part] = (epoch, rng.permutation(sum(self.windows[part])))
        return self.orders[part][1]


def positions(ids: torch.Tensor, end_of_text: int) -> torch.Tensor:
    """The place of each token in its document: attention then stays within documents."""
    index = torch.arange(len(ids))
    begins = torch.zeros(len(ids), dtype=torch.long)
    begins[1:] = torch.where(ids[:-1] == end_of_text, index[1:], 0)
    return index - torch.cummax(begins, 0).values
