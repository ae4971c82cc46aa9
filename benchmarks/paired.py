"""Which of two judges is better, when both were tried on the same folds.

Folds share most of their training rows, so their differences are not independent, and the usual
t-test finds a winner far too often. The corrected one widens the variance by what a fold's test
part is to its training part.

Source: Nadeau and Bengio, "Inference for the Generalization Error" (2003); Bouckaert and Frank,
"Evaluating the Replicability of Significance Tests" (2004), for repeated cross-validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean difference over folds, and its interval of 95 %."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "wins" or "loses" where the interval leaves out zero, else "ties"."""
        if self.low > 0:
            return "wins"
        return "loses" if self.high < 0 else "ties"


def compare(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], folds: int
) -> Difference:
    """From a figure of each judge in each fold, nan where it had none; one pass has `folds`."""
    from scipy.stats import t  # type: ignore[import-untyped]

    differences = np.asarray(ours) - np.asarray(theirs)
    differences = differences[~np.isnan(differences)]
    count = len(differences)
    if count < 2:
        raise ValueError("a comparison needs at least two folds")
    held_to_trained = 1 / (folds - 1)
    error = np.sqrt((1 / count + held_to_trained) * differences.var(ddof=1))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * error)
    mean = float(differences.mean())
    return Difference(mean, mean - reach, mean + reach)
