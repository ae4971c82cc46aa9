"""Measures as counts over counts, with 0 where there is nothing to share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def column_ratio(counts: Counts, what: int, per: int | None) -> Floats:
    """float64[N]: a column of counts int64[N, columns], over another one where one is named."""
    if per is None:
        return counts[:, what].astype(np.float64)
    return share_of(counts[:, what], counts[:, per])


def share_of(parts: Counts, wholes: Counts) -> Floats:
    """float64[N]: each part over its whole; 0 of nothing."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)
