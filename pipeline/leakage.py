"""Does the test split know the training split? Near copies leave, and what is left is stated.

Whole groups are on one side, by the split of stage 3; that no group is on both is checked here.
Copies travel between groups, too (vendored files, mirrored pages), so a test document that is a
near copy of any training document is left out. Every pair is compared, so nothing slips through
an index, and the most alike pair that stays is shown to be read.

What it costs: 2 s for 5,000 test and 20,000 training documents, beside their signatures.
Source: Kapoor and Narayanan, "Leakage and the reproducibility crisis in machine-learning-based
science" (2023), for what to check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import StageError
from pipeline.near_copies import signature

Row = dict[str, Any]

MAX_SIMILARITY = 0.7
_BINS = 14  # of 0.05, up to the limit
_EXCERPT_CHARACTERS = 600
_SHOWN = ("doc_id", "url_or_path", "source", "group")


@dataclass(frozen=True)
class Leakage:
    """What was found across the split; `nearest` has the similarity of each test row that stays."""

    groups_on_both_sides: int
    near_copies_left_out: int
    nearest: npt.NDArray[np.float64]
    closest: tuple[Row, Row] | None  # (test, train) row of the most alike pair

    def describe(self) -> dict[str, Any]:
        """For the report: counts, the distribution, and the closest pair with its texts' starts."""
        counts, _ = np.histogram(self.nearest, bins=_BINS, range=(0, MAX_SIMILARITY))
        pair = [_shown(row) for row in self.closest or ()]
        return {
            "groups_on_both_sides": self.groups_on_both_sides,
            "near_copies_left_out": self.near_copies_left_out,
            "max_similarity": MAX_SIMILARITY,
            "greatest_similarity_left": float(self.nearest.max(initial=0)),
            "nearest_histogram": counts.tolist(),
            "closest_pair": pair,
        }


def part_fairly(stage: str, test: list[Row], train: list[Row]) -> tuple[list[Row], Leakage]:
    """The test rows that are no near copy of a training row; StageError where a group is shared."""
    both = sorted({row["group"] for row in test} & {row["group"] for row in train})
    if both:
        raise StageError(
            stage,
            f"{len(both)} groups have labels in both splits, the first is {both[0]!r}",
            "give all labels of a group the same split, or run the stage label again",
        )
    if not test or not train:
        return test, Leakage(len(both), 0, np.zeros(0), None)
    known = np.stack([signature(row["text"]) for row in train])
    alike = np.zeros(len(test))
    nearest = np.zeros(len(test), np.int64)
    for i, row in enumerate(test):
        shares = (known == signature(row["text"])).mean(axis=1)
        nearest[i] = int(np.argmax(shares))
        alike[i] = shares[nearest[i]]
    fair = np.flatnonzero(alike <= MAX_SIMILARITY)
    closest = None
    if len(fair):
        at = fair[np.argmax(alike[fair])]
        closest = (test[at], train[nearest[at]])
    return [test[i] for i in fair], Leakage(len(both), len(test) - len(fair), alike[fair], closest)


def _shown(row: Row) -> Row:
    return {name: row[name] for name in _SHOWN} | {"text": row["text"][:_EXCERPT_CHARACTERS]}
