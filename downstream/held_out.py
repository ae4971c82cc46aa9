"""How well the model predicts the pinned held-out text while it trains, in bits per byte.

Every document is cut into windows, each beginning with the token before it (the first with the end
of text), as the evaluator does it: the figure does not depend on the tokenizer, and what a window
cannot see counts against the model. All batches have one shape, so a compiled model stays compiled;
windows that end early are padded at their end, where nothing looks at the padding.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.records import read_rows

if TYPE_CHECKING:
    import torch
    from torch import nn


class HeldOut:
    """Windows of the first documents, up to so many bytes; a document counts whole or not."""

    def __init__(
        self, documents: Path, end_of_text: int, tokens: int, sequences: int, max_bytes: int
    ) -> None:
        self.bytes = 0
        windows: list[list[int]] = []
        for row in read_rows([documents], ["tokens", "n_bytes"]):
            if self.bytes + row["n_bytes"] <= max_bytes:
                self.bytes += row["n_bytes"]
                ids = [end_of_text, *row["tokens"]]
                windows += [ids[i : i + tokens + 1] for i in range(0, len(ids) - 1, tokens)]
        self._batches = [
            _batch(windows[i : i + sequences], sequences, tokens, end_of_text)
            for i in range(0, len(windows), sequences)
        ]

    def bits_per_byte(self, model: nn.Module, device: torch.device) -> float | None:
        """The model's figure, or None where no document fits."""
        import torch

        from downstream.model import loss_nats

        if not self.bytes:
            return None
        nats = 0.0
        model.eval()
        with torch.no_grad():
            for ids, weights in self._batches:
                ids_BT, weights_BT = torch.from_numpy(ids), torch.from_numpy(weights)
                mean = loss_nats(model, ids_BT.to(device), None, weights_BT.to(device))
                nats += float(mean) * float(weights.sum())
        model.train()
        return round(nats / math.log(2) / self.bytes, 5)


def _batch(
    windows: list[list[int]], sequences: int, tokens: int, end_of_text: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Ids, B x (T + 1), padded at the end, and weights, B x T, 0 on the padding."""
    ids = np.full((sequences, tokens + 1), end_of_text, np.int64)
    weights = np.zeros((sequences, tokens), np.float32)
    for i, window in enumerate(windows):
        ids[i, : len(window)] = window
        weights[i, : len(window) - 1] = 1
    return ids, weights
