"""A forest's votes, one share for each score, read as the two numbers that the filter needs.

Apart from the forest's training, so that scoring opens without scikit-learn.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.int64]

TOP_SCORE = 5


def read_votes(
    votes: npt.NDArray[np.floating], classes: Scores, positive_score_min: int
) -> npt.NDArray[np.float64]:
    """float[N, classes] shares of votes -> float64[N, 2]: P(positive) and the expected score."""
    votes = votes.astype(np.float64)
    return np.column_stack([votes[:, classes >= positive_score_min].sum(axis=1), votes @ classes])
