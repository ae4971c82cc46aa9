"""Near copies in meaning: accepted pieces as vectors, and a new one beside all of them.

Shared runs of words do not show a paraphrase; a sentence encoder does (`classifiers.encoder`, or
any other thing that turns texts into vectors). Each new vector is compared with every accepted one,
exactly, in blocks of a fixed shape: a product of fixed shape adds up in one order, so what a piece
is compared with is the same whenever it comes. Blocks are float32 and filled as pieces arrive.

What it costs, at 384 dimensions: 1.5 KiB a piece, and a question reads as much for each piece, a
few milliseconds among 10,000; the encoder takes far longer for its text. Which cosines pairs of
texts have, and what a question takes: `python -m benchmarks.near_meaning`, docs/diversity.md.

Source: Abbas et al., "SemDeDup" (2023), arXiv 2303.09540, for cosine limits of near copies (0.9 to
0.97 with the encoders used there; each encoder has its own scale, so look at pairs first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_BLOCK_ROWS = 4_096
_SHORTEST = 1e-12  # a vector of nothing stays zero, and is like nothing


class TextEncoder(Protocol):
    """What an encoder is here: pa.Array of N strings -> float32[N, dimensions]."""

    def transform(self, texts: Any) -> Vectors: ...


def unit_vectors(encoder: TextEncoder, texts: Sequence[str]) -> Vectors:
    """float32[N, dimensions], rows of unit length (or zero, for a text that says nothing)."""
    import pyarrow as pa

    vectors = np.asarray(encoder.transform(pa.array(texts, pa.large_string())), np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _SHORTEST), np.float32)


class NearMeanings:
    """An index of accepted pieces that answers: does this one say the same as an earlier one?"""

    def __init__(self, max_cosine: float = 0.95) -> None:
        self.max_cosine = max_cosine
        self._names: list[str] = []
        self._blocks: list[Vectors] = []

    def __len__(self) -> int:
        return len(self._names)

    def twin_of(self, vector: Vectors) -> tuple[str, float] | None:
        """The most similar accepted piece above the limit and its cosine, or None."""
        best, cosine = -1, self.max_cosine
        for i, block in enumerate(self._blocks):
            found = (block @ vector)[: len(self._names) - i * _BLOCK_ROWS]  # not the free rows
            at = int(np.argmax(found))
            if found[at] > cosine:
                best, cosine = i * _BLOCK_ROWS + at, float(found[at])
        return None if best < 0 else (self._names[best], cosine)

    def add(self, name: str, vector: Vectors) -> None:
        """Accept a piece's unit vector under a name."""
        row = len(self._names) % _BLOCK_ROWS
        if row == 0:
            self._blocks.append(np.zeros((_BLOCK_ROWS, len(vector)), np.float32))
        self._blocks[-1][row] = vector
        self._names.append(name)

    @property
    def memory_bytes(self) -> int:
        """What the blocks hold."""
        return sum(block.nbytes for block in self._blocks)
