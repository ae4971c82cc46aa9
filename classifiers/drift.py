"""Do the documents that a filter meets still look like those that it was made for?

A reference keeps, for every column that the forest reads and for both scores, where the tenths of
a uniform sample of the filter's own corpus begin, and how many of its documents lie in each; later
documents are counted into the same bins. A value that more than a tenth of the sample has, such as
a zero for "no list", is a bin of its own, so that a shift in or out of it shows.

Two numbers tell how far the two histograms p and q lie apart:

- PSI, the population stability index, sum of (p - q) ln(p / q). Under 0.1 is called stable, over
  0.25 shifted: Siddiqi, "Credit Risk Scorecards" (2006). Two samples of one population have a PSI
  too, about (bins - 1)(1/n + 1/m) on average: Yurdakul and Naranjo, "Statistical properties of the
  population stability index" (2020). That part is taken off before it is held against a limit.
- D of Kolmogorov and Smirnov, at the bins' ends only: it is never more than the true D, so it
  rejects too seldom, never too often. Its critical value is Smirnov's for large samples,
  sqrt(ln(2 / level) / 2 * (1/n + 1/m)), at a level divided by the number of questions asked
  (Bonferroni's correction, which holds however much the columns depend on each other).

A column has drifted if both say so: with many documents any difference is significant, with few
any PSI is large. What it costs: 0.5 microseconds a counted document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

BINS = 10
Counts = npt.NDArray[np.int64]  # [columns, bins]; a column with fewer bins ends in zeros
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Each column's name, and where its bins but the first begin."""

    names: tuple[str, ...]
    begins: tuple[npt.NDArray[np.float32], ...]

    @classmethod
    def of(cls, names: Sequence[str], values: npt.NDArray[np.float32]) -> Bins:
        """The bins of float32[N, columns] of a sample."""
        return cls(tuple(names), tuple(begins_of(column) for column in values.T))

    @cached_property
    def _padded(self) -> npt.NDArray[np.float32]:
        """float32[columns, bins - 1]; no value reaches the padding."""
        padded = np.full((len(self.begins), max(map(len, self.begins))), np.nan, np.float32)
        for row, begins in zip(padded, self.begins, strict=True):
            row[: len(begins)] = begins
        return padded

    @property
    def shape(self) -> tuple[int, int]:
        """Of the counts."""
        return len(self.begins), self._padded.shape[1] + 1

    def count(self, values: npt.NDArray[np.float32]) -> Counts:
        """int64[columns, bins] of float32[N, columns]."""
        columns = np.ascontiguousarray(values.T)
        reached = np.zeros((self.shape[0], self.shape[1] + 1), np.int64)
        reached[:, 0] = len(values)
        for i in range(self.shape[1] - 1):
            some = np.flatnonzero(~np.isnan(self._padded[:, i]))
            begin = self._padded[some, i, np.newaxis]
            reached[some, i + 1] = np.count_nonzero(columns[some] >= begin, axis=1)
        counts: Counts = reached[:, :-1] - reached[:, 1:]
        return counts


def begins_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Where tenths begin, and where each value that over a tenth has begins and ends."""
    if len(values) == 0:
        return values
    distinct, times = np.unique(values, return_counts=True)
    tenths = np.sort(values)[np.arange(1, BINS) * len(values) // BINS]
    common = distinct[times * BINS > len(values)]
    ends = np.nextafter(common, np.float32(np.inf))
    return np.unique(np.concatenate([tenths, common, ends]).astype(np.float32))


def psi(p: Counts, q: Counts) -> Floats:
    """float64[columns] of two int64[columns, bins].

    Both get one more document, spread as both together are: an empty bin then costs what one
    document can tell, and one that is empty in both nothing.
    """
    n, m = _sizes(p, q)
    pooled = (p + q) / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, other = (p + pooled) / (n + 1), (q + pooled) / (m + 1)
        terms = (share - other) * np.log(share / other)
    found: Floats = np.where(pooled > 0, terms, 0.0).sum(axis=1)
    return found


def expected_psi(p: Counts, q: Counts) -> Floats:
    """float64[columns]: the mean PSI of two samples of these sizes from one population."""
    n, m = _sizes(p, q)
    used = np.count_nonzero(p + q, axis=1)
    expected: Floats = (used - 1) * (1 / n + 1 / m)
    return expected


def ks_distance(p: Counts, q: Counts) -> Floats:
    """float64[columns]: the largest gap between the cumulated shares at the bins' ends."""
    n, m = _sizes(p, q)
    gaps: Floats = np.abs(np.cumsum(p, axis=1) / n - np.cumsum(q, axis=1) / m).max(axis=1)
    return gaps


def ks_critical(n: int, m: int, level: float) -> float:
    """The D that two samples of one population exceed with a probability of at most `level`."""
    return float(np.sqrt(np.log(2 / level) / 2 * (1 / n + 1 / m)))


def _sizes(p: Counts, q: Counts) -> tuple[int, int]:
    return int(p[0].sum()), int(q[0].sum())


@dataclass(frozen=True)
class Reference:
    """The histograms of documents of the filter's own corpus, by `source/kind`.

    `seen` are the marks (the heads of the ids) of the documents that the filter was made from;
    they look other to it than all others do, and are counted neither here nor later.
    """

    bins: Bins
    strata: Mapping[str, Counts]
    seen: frozenset[str] = frozenset()

    def of(self, stratum: str) -> Counts:
        """Those of a stratum; without its source, of all documents of its kind; of "all"."""
        if stratum in self.strata:
            return self.strata[stratum]
        kind = kind_of(stratum)
        parts = (c for name, c in self.strata.items() if stratum == ALL or kind_of(name) == kind)
        return sum(parts, start=np.zeros(self.bins.shape, np.int64))

    @property
    def documents(self) -> int:
        """Of the sample."""
        return size_of(self.of(ALL))


ALL = "all"


def kind_of(stratum: str) -> str:
    """`web` or `code`, which a stratum ends with, or is."""
    return stratum.rsplit("/", 1)[-1]


def size_of(counts: Counts) -> int:
    """How many documents were counted."""
    return int(counts[0].sum())
