"""What the forest looks at: the PR-AUC lost when columns are shuffled among the rows.

Columns that say much the same stand in for each other when only one is shuffled, so whole families
are shuffled too, jointly.

What it costs: a forest's judgement of the test labels for each family and shuffle.
Source: Breiman, "Random Forests" (2001), section 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.intervals import Ranking

Matrix = npt.NDArray[np.float32]

SHUFFLES = 5


def permutation_importance(
    judge: Callable[[Matrix], npt.NDArray[np.floating[Any]]],
    features: Matrix,
    families: Mapping[str, list[int]],
    positive: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """PR-AUC `lost` by family, on average, and the `least` and `most` of the shuffles."""
    ones = np.ones(len(positive))
    whole = Ranking(positive, judge(features)).area(ones)
    found = {}
    for name, columns in families.items():
        losses = []
        for _ in range(SHUFFLES):
            shuffled = features.copy()
            shuffled[:, columns] = features[rng.permutation(len(features))][:, columns]
            losses.append(whole - Ranking(positive, judge(shuffled)).area(ones))
        found[name] = {
            "lost": float(np.mean(losses)), "least": min(losses), "most": max(losses)
        }  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: (-item[1]["lost"], item[0])))
