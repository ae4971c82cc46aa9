"""The loops of the near-copy index, as machine code: chains of texts that share a band.

A signature's band is four minima. Texts with the same hash of a band hang on one chain of that
band: `heads` int32[bands, slots] has the last text that came, `chain` int32[texts, bands] has the
one before each. A band is compared before anything else, so a false chain costs one cache line.
`seen` int32[texts] has the mark of the last question in which a text was compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, as in Knuth's hashing
_32 = np.uint64(32)


@compiled
def link(sketch: Any, text: int, heads: Any, chain: Any) -> None:
    """Hang a text on the chain of each of its bands."""
    for band in range(len(heads)):
        at = _slot(sketch, band, len(heads), heads.shape[1])
        chain[text, band] = heads[band, at]
        heads[band, at] = text


@compiled
def link_all(sketches: Any, count: int, heads: Any, chain: Any) -> None:
    """Hang the first `count` texts on empty chains."""
    for text in range(count):
        link(sketches[text], text, heads, chain)


@compiled
def find_twin(
    sketch: Any, most_unequal: int, mark: int, sketches: Any, heads: Any, chain: Any, seen: Any
) -> tuple[int, int]:
    """The text with the fewest unequal minima, the earliest of such, and how many; or -1."""
    best, fewest = -1, most_unequal + 1
    rows = len(sketch) // len(heads)
    for band in range(len(heads)):
        text = heads[band, _slot(sketch, band, len(heads), heads.shape[1])]
        while text >= 0:
            if seen[text] != mark and _same_band(sketch, sketches[text], band * rows, rows):
                seen[text] = mark
                unequal = 0
                for k in range(len(sketch)):
                    unequal += sketch[k] != sketches[text, k]
                if unequal < fewest or (unequal == fewest and 0 <= text < best):
                    best, fewest = text, unequal
            text = chain[text, band]
    return best, fewest


@compiled
def most_equal_earlier(sketches: Any, found: Any) -> None:
    """For each text, the most minima that it shares with any one before it."""
    for text in range(1, len(sketches)):
        for earlier in range(text):
            equal = 0
            for k in range(sketches.shape[1]):
                equal += sketches[text, k] == sketches[earlier, k]
            found[text] = max(found[text], equal)


@compiled
def _slot(sketch: Any, band: int, bands: int, slots: int) -> int:
    """Where a band's chain begins; `slots` is a power of two."""
    rows = len(sketch) // bands
    mixed = np.uint64(band)
    for k in range(band * rows, (band + 1) * rows):
        mixed = (mixed ^ np.uint64(sketch[k])) * _MULTIPLIER
        mixed ^= mixed >> _32
    return int(mixed & np.uint64(slots - 1))


@compiled
def _same_band(one: Any, other: Any, start: int, rows: int) -> bool:
    same = True
    for k in range(start, start + rows):
        same &= one[k] == other[k]
    return same
