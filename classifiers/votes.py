"""What a forest's votes say: the probability of a positive label, and the expected score."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

TOP_SCORE = 5


def read_votes(
    votes: npt.NDArray[np.floating[Any]], classes: npt.NDArray[np.int64], positive_score_min: int
) -> npt.NDArray[np.float64]:
    """float[N, classes] shares of votes -> float64[N, 2]: P(positive) and the expected score."""
    votes = votes.astype(np.float64)
    return np.column_stack([votes[:, classes >= positive_score_min].sum(axis=1), votes @ classes])
