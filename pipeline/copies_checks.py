"""Which candidates are copies: the minima of both are compared, one run after the other.

The pairs of one run's documents, found in any band, are joined and each is compared once, at most
about `CHECKED_PAIRS` at a time. They are compared in the order of the earlier document's run, so
two runs' signatures are mapped at a time, and a signature is read where it lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.copies_pair_files import count_pairs, read_pairs
from pipeline.copies_runs import Run
from pipeline.ledger import Ledger

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

CHECKED_PAIRS = 1 << 20
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


@dataclass(frozen=True)
class CheckShard:
    """Write the confirmed pairs of every `world_size`-th run to a file of its own."""

    runs: Sequence[Run]
    pairs: Path
    home: Path
    least_equal: int  # minima

    def __call__(self, rank: int, world_size: int) -> Ledger:
        checked = confirmed = 0
        self.home.mkdir(parents=True, exist_ok=True)
        for number in range(rank, len(self.runs), world_size):
            run, found = self.runs[number], [np.zeros(0, np.uint64)]
            for low, high in _ranges(self.pairs, run.first, run.first + run.count):
                pairs = np.unique(read_pairs(self.pairs, low, high))
                found.append(pairs[equal_minima(self.runs, pairs) >= self.least_equal])
                checked, confirmed = checked + len(pairs), confirmed + len(found[-1])
            half = self.home / f"{number:06}.half"
            with half.open("wb") as file:
                np.save(file, np.concatenate(found))
            half.rename(half.with_suffix(".npy"))
        unlike = checked - confirmed
        return Ledger("pairs", checked, confirmed, {"less_alike": unlike} if unlike else {})


def _ranges(pairs: Path, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Ranges of later documents, halved until their pairs are few enough; empty ones are left."""
    count = count_pairs(pairs, low, high)
    if count > CHECKED_PAIRS and high - low > 1:
        yield from _ranges(pairs, low, (low + high) // 2)
        yield from _ranges(pairs, (low + high) // 2, high)
    elif count:
        yield low, high


def runs_of(runs: Sequence[Run], positions: Int64s) -> Int64s:
    """The numbers of the runs in which documents lie."""
    firsts = np.array([run.first for run in runs], np.int64)
    return np.searchsorted(firsts, positions, side="right") - 1


def equal_minima(runs: Sequence[Run], pairs: UInt64s) -> npt.NDArray[np.uint8]:
    """uint8[N]: how many minima the documents of each pair share."""
    from pipeline.copies_loops import count_equal

    one, other = (pairs >> _32).astype(np.int64), (pairs & _LOW).astype(np.int64)
    ones, others = runs_of(runs, one), runs_of(runs, other)
    order = np.lexsort((others, ones))
    both = ones[order] * len(runs) + others[order]
    cuts = np.flatnonzero(np.diff(both, prepend=-1, append=-1))
    equal = np.empty(len(pairs), np.uint8)
    for begin, end in pairwise(cuts):
        which = order[begin:end]
        a, b = runs[ones[which[0]]], runs[others[which[0]]]
        counts = np.empty(len(which), np.uint8)
        count_equal(a.minima, one[which] - a.first, b.minima, other[which] - b.first, counts)
        equal[which] = counts
    return equal
