"""Token shards as a data module of litgpt: `primer_data.Shards`, beside windows.py.

The windows come in the order of training, so the loader must not shuffle them. A batch has one
token more than the context: litgpt makes inputs and targets of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from litgpt.data import DataModule  # type: ignore[import-not-found]  # where it is exported to
from torch.utils.data import DataLoader
from windows import Windows  # type: ignore[import-not-found]  # beside it when exported


@dataclass
class Shards(DataModule):  # type: ignore[misc]
    """The shards of one arm; `counts` are windows of base and of anneal."""

    base: str
    anneal: str
    validation: str
    counts: list[int]
    token_dtype: str
    seed: int = 1
    num_workers: int = 2

    batch_size: int = field(default=1, init=False, repr=False)
    tokens: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__init__()

    def connect(
        self, tokenizer: Any = None, batch_size: int = 1, max_seq_length: int | None = -1,
        **_: Any,
    ) -> None:  # fmt: skip
        """What litgpt says when it has read its arguments."""
        assert max_seq_length is not None
        assert max_seq_length > 0
        self.batch_size, self.tokens = batch_size, max_seq_length + 1

    def train_dataloader(self) -> DataLoader[Any]:
        """Windows of base, then of anneal."""
        return self._loader([self.base, self.anneal], self.counts)

    def val_dataloader(self) -> DataLoader[Any]:
        """Windows of the held-out documents."""
        return self._loader([self.validation], [64])

    def _loader(self, folders: list[str], counts: list[int]) -> DataLoader[Any]:
        windows = Windows(folders, counts, self.tokens, self.token_dtype, self.seed)
        return DataLoader(windows, self.batch_size, num_workers=self.num_workers, drop_last=True)
