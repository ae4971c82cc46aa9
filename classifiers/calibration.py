"""From a forest's raw vote to a probability: centred isotonic regression, as a list of knots.

Plain isotonic regression makes steps, and all documents on a step tie, so no threshold can keep
"the best fifth". The centred form joins the centres of the steps by straight lines: as free of
assumptions, but rising. The ends are joined to the corners, which breaks ties there too.

Source: Oron and Flournoy, "Centered Isotonic Regression" (2017).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CORNER = 1e-6  # a knot nearer to an end than this would make a cliff there


class Calibration:
    """A rising map of [0, top] onto [0, top], learned from (raw, target) pairs.

    Learned: `knots_`, float64[K, 2] of (raw, calibrated), rising in both columns.
    """

    def __init__(self, top: float = 1.0) -> None:
        self.top = top

    def fit(self, raw: Floats, target: npt.ArrayLike) -> Calibration:
        from sklearn.isotonic import isotonic_regression  # scoring opens without it

        places, tied = np.unique(np.asarray(raw, np.float64), return_inverse=True)
        ties = np.bincount(tied)
        rising = isotonic_regression(np.bincount(tied, target) / ties, sample_weight=ties)
        _, step = np.unique(rising, return_inverse=True)
        size = np.bincount(step, ties)
        centres = np.bincount(step, places * ties) / size
        heights = np.bincount(step, rising * ties) / size
        inner = (centres > _CORNER) & (centres < self.top - _CORNER)
        knots = np.column_stack([centres, heights])[inner]
        self.knots_ = np.vstack([[0.0, 0.0], knots, [self.top, self.top]])
        return self

    def predict(self, raw: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        heights = np.interp(raw, self.knots_[:, 0], self.knots_[:, 1])
        return np.asarray(heights, np.float32)

    @classmethod
    def from_knots(cls, top: float, knots: list[list[float]]) -> Calibration:
        """The inverse of `knots_.tolist()`."""
        calibration = cls(top)
        calibration.knots_ = np.array(knots, np.float64)
        return calibration
