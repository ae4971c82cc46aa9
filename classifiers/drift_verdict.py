"""What the distances say: which columns, and so which strata, have drifted.

A stratum has drifted if the filter's score has, or if several columns have: the forest looks at
ninety, and one of them may shift without consequence. A stratum that the filter has never seen is
new; it is compared with all documents of its kind, to show how it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from classifiers.drift import (
    ALL,
    Bins,
    Counts,
    Reference,
    expected_psi,
    kind_of,
    ks_critical,
    ks_distance,
    psi,
    size_of,
)

SCORES = ("score", "expected_score")
_SURELY_SEEN = 10  # expected documents in the reference; e^-10 is the chance that it has none
Verdict = Literal["drifted", "new", "notable", "stable", "not judged"]
ORDER: tuple[Verdict, ...] = ("drifted", "new", "notable", "stable", "not judged")


@dataclass(frozen=True)
class Limits:
    """From where on a difference counts."""

    psi_max: float = 0.25
    psi_notable: float = 0.1
    level: float = 0.01  # of one false alarm in all columns and strata
    columns_min: int = 3
    documents_min: int = 100


@dataclass(frozen=True)
class ColumnDrift:
    """One column of one stratum."""

    name: str
    psi: float
    psi_by_chance: float  # which two samples of one population have on average
    ks: float
    ks_critical: float
    verdict: Verdict

    @property
    def excess(self) -> float:
        """What is held against the limits."""
        return self.psi - self.psi_by_chance


@dataclass(frozen=True)
class StratumDrift:
    """One stratum; its columns from the most to the least shifted."""

    name: str
    reference_documents: int
    documents: int
    verdict: Verdict
    columns: tuple[ColumnDrift, ...] = ()

    @property
    def worst(self) -> ColumnDrift | None:
        """The column that differs most; the score, if that has drifted."""
        score = next((c for c in self.columns if c.name in SCORES and c.verdict == "drifted"), None)
        return score or (self.columns[0] if self.columns else None)


def judge_drift(
    reference: Reference, seen: Mapping[str, Counts], limits: Limits
) -> list[StratumDrift]:
    """A verdict on each stratum and on all together, the worst first."""
    total = sum(seen.values(), start=np.zeros(reference.bins.shape, np.int64))
    strata = {ALL: total, **seen}
    large = [name for name, counts in strata.items() if size_of(counts) >= limits.documents_min]
    level = limits.level / max(len(large) * len(reference.bins.names), 1)
    found = [
        _judge_stratum(reference, name, counts, size_of(total), level, limits)
        for name, counts in strata.items()
    ]
    return sorted(found, key=_rank)


def _rank(stratum: StratumDrift) -> tuple[int, float, str]:
    worst = -stratum.columns[0].excess if stratum.columns else 0.0
    return ORDER.index(stratum.verdict), worst, stratum.name


def _judge_stratum(
    reference: Reference, name: str, counts: Counts, total: int, level: float, limits: Limits
) -> StratumDrift:
    before, m = reference.of(name), size_of(counts)
    known = size_of(before) > 0 and (name in reference.strata or name in (ALL, kind_of(name)))
    n = size_of(before) if known else 0
    missed = m / max(total, 1) * reference.documents < _SURELY_SEEN  # perhaps, by the sample
    if m < limits.documents_min or (n < limits.documents_min if known else missed):
        return StratumDrift(name, n, m, "not judged")
    if not known:
        like = before if size_of(before) else reference.of(ALL)
        return StratumDrift(
            name, 0, m, "new", _judge_columns(reference.bins, like, counts, level, limits)
        )
    columns = _judge_columns(reference.bins, before, counts, level, limits)
    drifted = [column.name for column in columns if column.verdict == "drifted"]
    verdict: Verdict = "stable"
    if len(drifted) >= limits.columns_min or set(drifted) & set(SCORES):
        verdict = "drifted"
    elif any(column.verdict != "stable" for column in columns):
        verdict = "notable"
    return StratumDrift(name, n, m, verdict, columns)


def _judge_columns(
    bins: Bins, before: Counts, counts: Counts, level: float, limits: Limits
) -> tuple[ColumnDrift, ...]:
    critical = ks_critical(size_of(before), size_of(counts), level)
    figures = zip(
        bins.names, psi(before, counts), expected_psi(before, counts), ks_distance(before, counts),
        strict=True,
    )  # fmt: skip
    columns = []
    for name, index, chance, distance in figures:
        verdict: Verdict = "stable"
        if distance > critical and index - chance > limits.psi_notable:
            verdict = "drifted" if index - chance > limits.psi_max else "notable"
        columns.append(
            ColumnDrift(name, float(index), float(chance), float(distance), critical, verdict)
        )
    return tuple(sorted(columns, key=lambda c: (-c.excess, c.name)))
