"""From a forest's raw vote to a probability: isotonic or Platt's, both as a list of knots.

Plain isotonic regression makes steps, and all documents on a step tie, so no threshold can keep
"the best fifth". The centred form joins the centres of the steps by straight lines: as free of
assumptions, but rising. The ends are joined to the corners, which breaks ties there too.
Platt's way fits a sigmoid, two numbers: steadier on few labels, wrong where votes are no sigmoid.
Its knots lie so densely that straight lines between them miss it by less than 0.0002.

Source: Oron and Flournoy, "Centered Isotonic Regression" (2017); Platt, "Probabilistic Outputs for
Support Vector Machines" (1999).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Way = Literal["isotonic", "platt"]

WAYS: tuple[Way, ...] = ("isotonic", "platt")
_CORNER = 1e-6  # a knot nearer to an end than this would make a cliff there
_PLATT_KNOTS = 201
_PLATT_STEPS = 100
_STEEPEST = 20.0  # of the sigmoid; a steeper one would turn votes into a yes or no
_FLATTEST = 1e-3  # labels that fall with the votes must not turn the order around


class Calibration:
    """A rising map of [0, top] into [0, top], learned from (raw, target) pairs.

    Learned: `knots_`, float64[K, 2] of (raw, calibrated), rising in both columns.
    """

    def __init__(self, top: float = 1.0, way: Way = "isotonic") -> None:
        self.top = top
        self.way = way

    def fit(self, raw: Floats, target: npt.ArrayLike) -> Calibration:
        find = _isotonic if self.way == "isotonic" else _platt
        shares = np.asarray(raw, np.float64) / self.top
        self.knots_ = self.top * find(shares, np.asarray(target, np.float64) / self.top)
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


def compare_ways(
    raw: Floats, positive: npt.NDArray[np.bool_], parts: Iterable[tuple[Rows, Rows]]
) -> dict[str, float]:
    """The Brier score of each way, fitted on the (train) rows of each part, judged on the others.

    `none` is that of the raw votes, for comparison.
    """
    parts = list(parts)
    held = np.concatenate([rows for _, rows in parts])
    found: dict[str, float] = {}
    for way in WAYS:
        judged = [Calibration(1.0, way).fit(raw[a], positive[a]).predict(raw[b]) for a, b in parts]
        found[way] = float(np.mean((np.concatenate(judged) - positive[held]) ** 2))
    return {**found, "none": float(np.mean((raw[held] - positive[held]) ** 2))}


def _isotonic(raw: Floats, target: Floats) -> Floats:
    from sklearn.isotonic import isotonic_regression  # here, since scoring needs no scikit-learn

    places, tied = np.unique(raw, return_inverse=True)
    ties = np.bincount(tied)
    rising = isotonic_regression(np.bincount(tied, target) / ties, sample_weight=ties)
    _, step = np.unique(rising, return_inverse=True)
    size = np.bincount(step, ties)
    centres = np.bincount(step, places * ties) / size
    heights = np.bincount(step, rising * ties) / size
    inner = (centres > _CORNER) & (centres < 1 - _CORNER)
    return np.vstack([[0.0, 0.0], np.column_stack([centres, heights])[inner], [1.0, 1.0]])


def _platt(raw: Floats, target: Floats) -> Floats:
    """Newton's method on two numbers; targets are drawn in a little, as Platt does."""
    drawn_in = (target * len(target) + 1) / (len(target) + 2)
    x = np.column_stack([raw, np.ones(len(raw))])
    slope, offset = _newton(x, drawn_in)
    if not _FLATTEST <= slope <= _STEEPEST:
        slope = min(max(slope, _FLATTEST), _STEEPEST)
        offset = _newton(x[:, 1:], drawn_in, slope * raw)[0]
    places = np.linspace(0, 1, _PLATT_KNOTS)
    return np.column_stack([places, _sigmoid(slope * places + offset)])


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))


def _newton(x: Floats, target: Floats, given: Any = 0.0) -> Floats:
    """The weights of a logistic regression, kept finite by a thousandth of a label's ridge."""
    weights = np.zeros(x.shape[1])
    for _ in range(_PLATT_STEPS):
        found = _sigmoid(x @ weights + given)
        slope = x.T @ (target - found) - 1e-3 * weights
        bend = (x * (found * (1 - found))[:, None]).T @ x + 1e-3 * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        weights += np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    return weights
