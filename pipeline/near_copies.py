"""Near copies, found while they arrive: MinHash signatures in a banded index.

A signature is 128 minima over the hashed word 5-grams of a text (rensa, in Rust); the share of
equal minima estimates the Jaccard similarity with a standard error of at most 0.044. The index
cuts a signature into 32 bands of 4: a pair of similarity 0.7 shares a band with probability
1 - (1 - 0.7^4)^32 = 99.98 %, and each candidate is then compared on all 128 minima.
Memory: about 3 KiB a text.

Source: Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman,
Ullman, "Mining of Massive Datasets", chapter 3, for the bands.
"""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import numpy.typing as npt

MINIMA = 128
BANDS = 32
SHINGLE_WORDS = 5
_SEED = 1_997  # of the hash family, not of the recipe: signatures of all runs are comparable
_WORD = re.compile(r"\w+")

Signature = npt.NDArray[np.uint32]


def signature(text: str) -> Signature:
    """The MinHash signature of a text, uint32[128]; texts under 5 words are one shingle."""
    from rensa import RMinHash

    words = _WORD.findall(text.casefold())
    shingles = [
        " ".join(words[i : i + SHINGLE_WORDS])
        for i in range(max(1, len(words) - SHINGLE_WORDS + 1))
    ]
    sketch = RMinHash(num_perm=MINIMA, seed=_SEED)
    sketch.update(shingles)
    return np.array(sketch.digest(), dtype=np.uint32)


def similarity(one: Signature, other: Signature) -> float:
    """The estimated Jaccard similarity of two texts, from their signatures."""
    return float(np.mean(one == other))


class NearCopies:
    """An index of accepted texts that answers: is this one a near copy of an earlier one?"""

    def __init__(self, max_similarity: float = 0.7) -> None:
        self.max_similarity = max_similarity
        self._names: list[str] = []
        self._signatures: list[Signature] = []
        self._buckets: dict[bytes, list[int]] = defaultdict(list)

    def twin_of(self, sketch: Signature) -> tuple[str, float] | None:
        """The most similar accepted text above the limit and its similarity, or None."""
        candidates = {i for band in _bands(sketch) for i in self._buckets.get(band, ())}
        best = max(
            ((similarity(sketch, self._signatures[i]), -i) for i in candidates), default=(0.0, 0)
        )
        if best[0] <= self.max_similarity:
            return None
        return self._names[-best[1]], best[0]

    def add(self, name: str, sketch: Signature) -> None:
        """Accept a text under a name."""
        for band in _bands(sketch):
            self._buckets[band].append(len(self._names))
        self._names.append(name)
        self._signatures.append(sketch)


def _bands(sketch: Signature) -> list[bytes]:
    rows = sketch.reshape(BANDS, MINIMA // BANDS)
    return [bytes([band]) + row.tobytes() for band, row in enumerate(rows)]
