"""Examples laid into rows of one length: whole, side by side, with the answers' tokens weighted.

An example is never cut: its answer would lose its question. Each is closed by a separator, at which
attention stops, and goes into the first of the last few rows that has room (first fit); what is
left of a row is separators, which weigh nothing. The separator is the end of text, or another
special token where the chat template uses that one within a chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from downstream.chat import Answer

_OPEN_ROWS = 64  # that an example may still go into: more fill rows no better and take time


@dataclass(frozen=True)
class Rows:
    """R rows of T + 1 tokens, and the weights of the T that are predicted.

    `ids` is int32, R x (T + 1); `weights` is bool, R x T.
    """

    ids: Tensor
    weights: Tensor
    separator: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learnt_tokens(self) -> int:
        """Tokens that weigh something."""
        return int(self.weights.sum())


def find_separator(answers: Sequence[Answer], candidates: Sequence[int]) -> int | None:
    """The first candidate that stands in no example but at its end."""
    inside = {token for answer in answers for token in answer.ids[:-1]}
    return next((token for token in candidates if token not in inside), None)


def lay_rows(answers: Sequence[Answer], tokens: int, separator: int, seed: int) -> Rows:
    """Lay the examples, in a shuffled order, into rows; each must be of at most `tokens`."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[list[Answer]] = []
    room: list[int] = []
    for i in torch.randperm(len(answers), generator=generator).tolist():
        size = len(closed(answers[i].ids, separator))
        first = max(0, len(rows) - _OPEN_ROWS)
        place = next((r for r in range(first, len(rows)) if room[r] >= size), None)
        if place is None:
            place = len(rows)
            rows.append([])
            room.append(tokens + 1)
        rows[place].append(answers[i])
        room[place] -= size
    ids_RT = torch.full((len(rows), tokens + 1), separator, dtype=torch.int32)
    weights_RT = torch.zeros((len(rows), tokens), dtype=torch.bool)
    for r, row in enumerate(rows):
        at = 0
        for answer in row:
            ids = closed(answer.ids, separator)
            ids_RT[r, at : at + len(ids)] = torch.tensor(ids, dtype=torch.int32)
            # the weight of a token stands where the one before it predicts it
            weights_RT[r, at + answer.prompt_tokens - 1 : at + len(answer.ids) - 1] = True
            at += len(ids)
    return Rows(ids_RT, weights_RT, separator)


def closed(ids: list[int], separator: int) -> list[int]:
    """The tokens with the separator behind them, once."""
    return ids if ids[-1] == separator else [*ids, separator]
