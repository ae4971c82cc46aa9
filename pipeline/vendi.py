"""The Vendi score: how many different pieces there are in effect, by their vectors.

It is the exponential of the entropy of the eigenvalues of the similarity matrix over N: 1 for
copies, N for pieces that have nothing in common. With the cosine of unit vectors as similarity,
those are the eigenvalues of a matrix of dimensions x dimensions, so it costs a few milliseconds.
It never exceeds the dimensions, and it depends on the encoder: compare only within one.

Source: Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning"
(2023), arXiv 2210.02410, section 3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEAST_SHARE = 1e-9  # eigenvalues below are rounding


def vendi_score(vectors: npt.NDArray[np.float32]) -> float | None:
    """The score of unit vectors [N, dimensions]; null without any (zero vectors are left out)."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    said = vectors[np.abs(vectors).sum(axis=1) > 0].astype(np.float64)
    if not len(said):
        return None
    with threadpool_limits(1):  # the order of sums, and so every bit, is the same each time
        values = np.linalg.eigvalsh(said.T @ said / len(said))
    shares = values[values > _LEAST_SHARE]
    return float(np.exp(-(shares * np.log(shares)).sum()))
