"""The loops of finding copies, as machine code: bands, candidate pairs, checks, clusters.

A pair is a uint64: the later position in the upper half, the earlier one in the lower half, so
that sorting pairs sorts them by the later document.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.arrow_text import compiled
from pipeline.near_copies import BANDS

UInt64s = npt.NDArray[np.uint64]

REACH = 4  # so many documents before it in a bucket is one compared with, beside the first
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_32 = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@compiled
def band_entries(minima: Any) -> UInt64s:
    """uint64[BANDS, N]: the hash of each band (32 bits), and the row."""
    rows = minima.shape[1] // BANDS
    entries = np.empty((BANDS, len(minima)), np.uint64)
    for row in range(len(minima)):
        for band in range(BANDS):
            mixed = np.uint64(band)
            for k in range(band * rows, (band + 1) * rows):
                mixed = (mixed ^ np.uint64(minima[row, k])) * _MULTIPLIER
                mixed ^= mixed >> _32
            mixed *= _MULTIPLIER
            entries[band, row] = (mixed & ~_LOW) | np.uint64(row)
    return entries


@compiled
def pair_up(entries: Any, begin: int, first: int, pairs: Any) -> tuple[int, int, int]:
    """Fill `pairs` from sorted entries on; returns where to go on, the bucket's first, how many.

    Each document is paired with the first of its bucket and with the `REACH` before it.
    """
    made = 0
    for i in range(begin, len(entries)):
        if entries[i] >> _32 != entries[first] >> _32:
            first = i
        if made + REACH + 1 > len(pairs):
            return i, first, made
        later = (entries[i] & _LOW) << _32
        if first < i - REACH:
            pairs[made] = later | (entries[first] & _LOW)
            made += 1
        for j in range(max(first, i - REACH), i):
            pairs[made] = later | (entries[j] & _LOW)
            made += 1
    return len(entries), first, made


@compiled
def pair_exact(one: Any, other: Any, positions: Any, pairs: Any) -> int:
    """Pair each document with the first of equal hashes; returns how many pairs there are."""
    made = first = 0
    for i in range(1, len(one)):
        if one[i] != one[first] or other[i] != other[first]:
            first = i
        else:
            pairs[made] = (positions[i] << _32) | positions[first]
            made += 1
    return made


@compiled
def count_equal(one: Any, ones: Any, other: Any, others: Any, equal: Any) -> None:
    """Into `equal`: how many minima the rows `ones` of `one` share with the rows `others`."""
    for pair in range(len(ones)):
        a, b = one[ones[pair]], other[others[pair]]
        same = 0
        for k in range(len(a)):
            same += a[k] == b[k]
        equal[pair] = same


@compiled
def root_of(parents: Any, at: Any) -> Any:
    """The earliest document of the cluster; halves the path on the way."""
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


@compiled
def unite(parents: Any, pairs: Any) -> None:
    """Unite the clusters of each pair under the earlier root."""
    for pair in pairs:
        one = root_of(parents, np.int64(pair >> _32))
        other = root_of(parents, np.int64(pair & _LOW))
        parents[max(one, other)] = min(one, other)


@compiled
def elect(parents: Any, scores: Any, survivors: Any) -> None:
    """Make `parents` roots, and for each root, which stands for itself at first, find the survivor.

    The highest score, of equal ones the earliest; without scores (an empty array) the earliest.
    """
    for at in range(len(parents)):
        root = root_of(parents, at)
        parents[at] = root
        if len(scores) and scores[at] > scores[survivors[root]]:
            survivors[root] = at
