"""Rows of choices in which every pair of levels comes up about equally often, from the first on.

Rows are chosen one after another. In each, the factors take their levels in a random order, and
each takes the level that stood least often beside the levels that the row has already: a covering
array built greedily (AETG: Cohen et al., IEEE TSE 23(7), 1997), kept even instead of minimal. The
first N rows never depend on those that follow.

`python -m benchmarks.plan_design` measures this beside chance, shuffled cycles, an additive
recurrence, Sobol, Faure and coprime cycles, on 2,000 rows beside the uneven skills of real
extracts: here 99 % of the pairs that so many rows can have do occur and 94 % of the worst two
factors', in the others 90 to 97 % and 54 to 85 %.

A row is dear to make (a quarter of a millisecond). 16,384 are made, as they are needed; later
cycles use them again with every factor turned: by the levels of the cycle's own row, so that the
turns are spread too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

ROWS = 16_384
_PAIR, _ALONE = 100, 1  # what a pair that stood before weighs beside a level of its own


class Spread:
    """Levels for every row, 0 to `sizes[k]` - 1 for factor k."""

    def __init__(self, sizes: Sequence[int], grounds: Sequence[int], seed: Sequence[int]) -> None:
        """`grounds` are the levels, one for each of the ROWS, of a factor that is fixed before."""
        self.sizes = tuple(sizes)
        self._grounds = grounds
        self._rng = np.random.default_rng(list(seed))
        self._starts = [sum(sizes[:k]) for k in range(len(sizes))]
        self._levels = sum(sizes)
        # how often a level (a row; grounds come after the others) stood beside a level (a column)
        self._beside = np.zeros((self._levels + max(grounds) + 1, self._levels), np.int64)
        self._alone = np.zeros(self._levels, np.int64)
        self._made: list[tuple[int, ...]] = []

    def row(self, index: int) -> tuple[int, ...]:
        """The levels of one row."""
        cycle, place = divmod(index, ROWS)
        row = self._base(place)
        if cycle == 0:
            return row
        turns, first = self._base(cycle % ROWS), self._base(0)
        return tuple(
            (level + turn - start) % size
            for level, turn, start, size in zip(row, turns, first, self.sizes, strict=True)
        )

    def _base(self, place: int) -> tuple[int, ...]:
        while len(self._made) <= place:
            self._made.append(self._next())
        return self._made[place]

    def _next(self) -> tuple[int, ...]:
        ground = self._levels + self._grounds[len(self._made)]
        beside = self._beside[ground].copy()
        rank = self._rng.permutation(self._levels)  # whole numbers: no tie hangs on a rounding
        row, chosen = [0] * len(self.sizes), []
        for k in self._rng.permutation(len(self.sizes)):
            own = slice(self._starts[k], self._starts[k] + self.sizes[k])
            weight = _PAIR * beside[own] + _ALONE * self.sizes[k] * self._alone[own]
            row[k] = int(np.argmin(weight * self._levels + rank[own]))
            chosen.append(self._starts[k] + row[k])
            beside += self._beside[chosen[-1]]
        self._alone[chosen] += 1
        self._beside[np.ix_([*chosen, ground], chosen)] += 1
        return tuple(row)


def reversed_bits(number: int, bits: int) -> int:
    """Van der Corput's order: counting on, it halves the largest gap again and again."""
    return int(f"{number:0{bits}b}"[::-1][:bits], 2)


@cache
def coprime_step(size: int) -> int:
    """A step near the golden section of a circle of `size` that comes to every place of it."""
    if size == 1:
        return 0
    wanted = round(0.618 * size)
    near = (wanted + sign * away for away in range(size) for sign in (1, -1))
    return next(step for step in near if 0 < step < size and math.gcd(step, size) == 1)
