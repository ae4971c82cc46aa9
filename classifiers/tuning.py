"""Settings of the forest by grouped cross-validation, within a budget of forests, not of seconds.

The settings are drawn in a fixed order with the recipe's own first, so a larger budget tries what a
smaller one did and more, and the outcome does not depend on how fast the machine is. Among a dozen
settings the best mean is partly luck, so the recipe's own are left only for settings whose lead is
at least twice its standard error. The lead is paired, fold by fold: most of what makes folds
differ, and a single setting's error large, cancels out of it. docs/log.md compares such rules.

What it costs: settings x folds small forests, about 0.15 s each for 1,200 labels.
Source: Breiman et al., "Classification and Regression Trees" (1984), section 3.4.3, for standard
errors in the choice; Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization" (2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.metrics import average_precision_score

from classifiers.forest import FilterForest, Fold
from classifiers.votes import Scores

Settings = dict[str, Any]
Floats = npt.NDArray[np.float64]

CHOICES: dict[str, list[Any]] = {
    "max_depth": [20, 8, 5],
    "min_samples_leaf": [3, 1, 6, 12],
    "max_features": ["sqrt", 0.05, 0.25, 0.5],
    "balance": [1.0, 0.5, 0.0],
}
SURE = 2.0  # standard errors


@dataclass(frozen=True)
class Tuned:
    """The model with the chosen settings, and all that were tried, in order.

    Each of `tried` has its settings, `pr_auc` (the mean over folds), `lead` over the recipe's own,
    the lead's standard error `lead_error` (null with one fold), and `chosen`.
    """

    model: FilterForest
    tried: list[Settings]


def tune(
    model: FilterForest, folds: list[Fold], scores: Scores, settings: int, trees: int
) -> Tuned:
    """Try so many settings, each with so many trees on every fold, and choose.

    ValueError where no fold holds both classes.
    """
    candidates = draw_settings(model, settings)
    areas = np.array(
        [_areas(clone(model).set_params(trees=trees, **c), folds, scores) for c in candidates]
    )
    if areas.shape[1] == 0:
        raise ValueError("no fold of the training labels holds both classes")
    leads = areas - areas[0]
    errors = standard_errors(leads)
    chosen = surely_best(leads.mean(axis=1), errors)
    tried = [
        {
            **candidate,
            "pr_auc": float(areas[i].mean()),
            "lead": float(leads[i].mean()),
            "lead_error": float(errors[i]) if np.isfinite(errors[i]) else None,
            "chosen": i == chosen,
        }
        for i, candidate in enumerate(candidates)
    ]
    return Tuned(clone(model).set_params(**candidates[chosen]), tried)


def draw_settings(model: FilterForest, count: int) -> list[Settings]:
    """The model's own settings, then others in the order of its seed."""
    plain = {name: getattr(model, name) for name in CHOICES}
    every = [dict(zip(CHOICES, values, strict=True)) for values in product(*CHOICES.values())]
    others = [settings for settings in every if settings != plain]
    order = np.random.default_rng([model.seed, 41]).permutation(len(others))
    return [plain, *(others[i] for i in order[: count - 1])]


def standard_errors(leads: Floats) -> Floats:
    """float64[S, folds] -> float64[S]; infinite with one fold, which tells nothing of an error."""
    folds = leads.shape[1]
    if folds < 2:
        return np.full(len(leads), np.inf)
    return np.asarray(leads.std(axis=1, ddof=1) / np.sqrt(folds))


def surely_best(leads: Floats, errors: Floats) -> int:
    """The place of the greatest lead among those that are sure; 0, the recipe's, without any."""
    sure = np.flatnonzero((leads >= SURE * errors) & (leads > 0))
    return int(sure[np.argmax(leads[sure])]) if len(sure) else 0


def _areas(model: FilterForest, folds: list[Fold], scores: Scores) -> list[float]:
    """PR-AUC of each fold that holds both classes."""
    areas = []
    for fold in folds:
        positive = scores[fold.held] >= model.positive_score_min
        if positive.any() and not positive.all():
            grown = clone(model).grow(fold.columns, scores[fold.train])
            areas.append(
                float(average_precision_score(positive, grown.judge(fold.held_columns)[:, 0]))
            )
    return areas
