"""Near copies, found while they arrive: MinHash signatures in a banded index.

A signature is 128 minima over the hashed word 5-grams of a text (rensa, in Rust); the share of
equal minima estimates the Jaccard similarity with a standard error of at most 0.044. The index
cuts a signature into 32 bands of 4, and compares all minima of whatever shares a band.

What it misses. A pair of true similarity 0.7 shares a band with probability
1 - (1 - 0.7**4)**32 = 99.98 %. Of pairs whose *estimate* is over 0.7, which is what the limit is
about, a band is shared by all but 6 in ten million (`missed_share`), and by every one from 97
equal minima of 128 on: 31 unequal ones cannot spoil 32 bands. At 0.5 one in twelve is missed, so
`nearest_earlier` compares every pair where such low limits are asked about.

What it costs: about 0.05 ms a signature of 120 words, nearly all of it cutting words; the index
itself takes 14 to 21 microseconds and under 1 KiB a text (`python -m benchmarks.near_copies`,
docs/diversity.md). What is found depends on the texts and their order alone, so an index is not
saved: who resumes adds the accepted texts again.

Source: Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman,
Ullman, "Mining of Massive Datasets", chapter 3, for the bands.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from math import ceil, comb

import numpy as np
import numpy.typing as npt

MINIMA = 128
BANDS = 32
SHINGLE_WORDS = 5
_SEED = 1_997  # of the hash family, not of the recipe: signatures of all runs are comparable
_WORD = re.compile(r"\w+")
_LEAST_ROOM = 512  # texts
_TEXTS_A_SLOT = 2  # on average at most

Signature = npt.NDArray[np.uint32]


def signature(text: str) -> Signature:
    """The MinHash signature of a text, uint32[128]; texts under 5 words are one shingle."""
    from rensa import RMinHash

    words = _WORD.findall(text.casefold())
    runs = zip(*(words[i:] for i in range(SHINGLE_WORDS)), strict=False)
    sketch = RMinHash(num_perm=MINIMA, seed=_SEED)
    sketch.update(list(map(" ".join, runs)) or [" ".join(words)])
    return np.array(sketch.digest(), dtype=np.uint32)


def signatures(texts: Sequence[str]) -> Signature:
    """uint32[N, 128]"""
    return np.array([signature(text) for text in texts], np.uint32).reshape(len(texts), MINIMA)


def similarity(one: Signature, other: Signature) -> float:
    """The estimated Jaccard similarity of two texts, from their signatures."""
    return float(np.mean(one == other))


def nearest_earlier(sketches: Signature) -> npt.NDArray[np.float64]:
    """float64[N]: each text's greatest similarity to any one before it; every pair is compared.

    About 10 ns a pair: 2,000 texts take 20 ms, 20,000 take 2 s.
    """
    from pipeline.band_chains import most_equal_earlier

    found = np.zeros(len(sketches), np.int64)
    most_equal_earlier(np.ascontiguousarray(sketches), found)
    return found / MINIMA


def missed_share(equal: int) -> float:
    """Of pairs with so many equal minima, in random places, the share that no band has in common.

    Counts the ways in which the unequal ones can leave none of the bands whole.
    """
    rows, unequal = MINIMA // BANDS, MINIMA - equal
    spoilt = [0] + [comb(rows, k) for k in range(1, rows + 1)]  # ways of k unequal in one band
    ways = [1]
    for _ in range(BANDS):
        longer = [0] * (len(ways) + rows)
        for i, count in enumerate(ways):
            for k, more in enumerate(spoilt):
                longer[i + k] += count * more
        ways = longer
    return ways[unequal] / comb(MINIMA, unequal)


class NearCopies:
    """An index of accepted texts that answers: is this one a near copy of an earlier one?"""

    def __init__(self, max_similarity: float = 0.7) -> None:
        self.max_similarity = max_similarity
        self._most_unequal = ceil(MINIMA * (1 - max_similarity)) - 1
        self._names: list[str] = []
        self._asked = 0
        self._sketches = np.zeros((_LEAST_ROOM, MINIMA), np.uint32)
        self._chain = np.zeros((_LEAST_ROOM, BANDS), np.int32)
        self._seen = np.zeros(_LEAST_ROOM, np.int32)
        self._heads = np.full((BANDS, _LEAST_ROOM), -1, np.int32)

    def __len__(self) -> int:
        return len(self._names)

    def twin_of(self, sketch: Signature) -> tuple[str, float] | None:
        """The most similar accepted text above the limit and its similarity, or None."""
        from pipeline.band_chains import find_twin

        self._asked += 1
        text, unequal = find_twin(
            np.array(sketch), self._most_unequal, self._asked,
            self._sketches, self._heads, self._chain, self._seen,
        )  # fmt: skip
        return None if text < 0 else (self._names[text], 1 - unequal / MINIMA)

    def add(self, name: str, sketch: Signature) -> None:
        """Accept a text under a name."""
        from pipeline.band_chains import link

        text = len(self._names)
        self._make_room(text + 1)
        self._sketches[text] = sketch
        link(self._sketches[text], text, self._heads, self._chain)
        self._names.append(name)

    @property
    def memory_bytes(self) -> int:
        """What the index holds, with the names, whoever else holds them."""
        arrays = (self._sketches, self._chain, self._seen, self._heads)
        names = sys.getsizeof(self._names) + sum(map(sys.getsizeof, self._names))
        return names + sum(array.nbytes for array in arrays)

    def _make_room(self, texts: int) -> None:
        """Grow by an eighth, in place, and double the slots when the chains get long."""
        from pipeline.band_chains import link_all

        room = len(self._sketches)
        if texts > room:
            for array in (self._sketches, self._chain, self._seen):
                # the arrays never leave this object, so nobody looks at the memory that moves
                array.resize((room + room // 8, *array.shape[1:]), refcheck=False)
        slots = self._heads.shape[1]
        if texts > _TEXTS_A_SLOT * slots:
            self._heads = np.full((BANDS, 2 * slots), -1, np.int32)
            link_all(self._sketches, texts - 1, self._heads, self._chain)
