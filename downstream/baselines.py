"""What needs no model: packers, and a table of token pairs, on the same held-out text.

A model that has learnt anything beats them; printed beside its figure, they keep it honest.
Packers see all chosen documents joined by a newline. The bigram model is trained on the tokens that
an arm hands to its trainer, with absolute discounting (Ney, Essen and Kneser, 1994; discount 0.75):
what is taken from the pairs seen goes to the tokens' frequencies, with one added to each. Every
document begins after the end of text, and bits are per byte, as for the models.
"""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.handoff_record import Arm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ids = npt.NDArray[np.int64]

DISCOUNT = 0.75


def packed_bits_per_byte(texts: Sequence[str]) -> dict[str, float]:
    """Bits per byte of gzip -9, zstd -19 and xz -9."""
    import zstandard

    raw = "\n".join(texts).encode()
    packed = {
        "gzip -9": zlib.compress(raw, 9),
        "zstd -19": zstandard.ZstdCompressor(level=19).compress(raw),
        "xz -9": lzma.compress(raw, preset=9),
    }
    return {name: round(8 * len(data) / len(raw), 4) for name, data in packed.items()}


class Bigrams:
    """Counts of tokens and of pairs; `fit` learns them from one stretch of tokens."""

    def __init__(self, vocabulary: int, discount: float = DISCOUNT) -> None:
        self.vocabulary, self.discount = vocabulary, discount

    def fit(self, ids: Ids) -> Bigrams:
        """Learn from the tokens in their order."""
        import numpy as np

        self.tokens_ = len(ids)
        self.counts_ = np.bincount(ids, minlength=self.vocabulary)
        pairs = ids[:-1] * self.vocabulary + ids[1:]
        self.pairs_, self.pair_counts_ = np.unique(pairs, return_counts=True)
        first = self.pairs_ // self.vocabulary
        self.begun_ = np.bincount(first, self.pair_counts_, self.vocabulary)
        self.kinds_ = np.bincount(first, minlength=self.vocabulary)  # different followers
        return self

    def nats(self, ids: Ids) -> float:
        """For all tokens but the first."""
        import numpy as np

        before, after = ids[:-1], ids[1:]
        alone = (self.counts_[after] + 1) / (self.tokens_ + self.vocabulary)
        pairs = before * self.vocabulary + after
        place = np.minimum(np.searchsorted(self.pairs_, pairs), max(len(self.pairs_) - 1, 0))
        seen = np.where(self.pairs_[place] == pairs, self.pair_counts_[place], 0)
        begun = self.begun_[before]
        known = np.maximum(begun, 1)
        kept = np.maximum(seen - self.discount, 0) / known
        left = np.where(begun > 0, self.discount * self.kinds_[before] / known, 1.0)
        return float(-np.log(kept + left * alone).sum())


def bigram_bits_per_byte(
    root: Path, arm: Arm, dtype: str, vocabulary: int, end_of_text: int,
    documents: Sequence[dict[str, Any]],
) -> float | None:  # fmt: skip
    """Bits per byte of a bigram model of an arm's tokens; null where it has none."""
    import numpy as np

    shards = [np.fromfile(root / s.path, np.dtype(dtype)) for s in (*arm.base, *arm.anneal)]
    ids = np.concatenate(shards).astype(np.int64) if shards else np.zeros(0, np.int64)
    if len(ids) < 2:
        return None
    model = Bigrams(vocabulary).fit(ids)
    nats = sum(model.nats(np.array([end_of_text, *row["tokens"]])) for row in documents)
    size = sum(row["n_bytes"] for row in documents)
    return round(nats / math.log(2) / size, 4) if size else None
