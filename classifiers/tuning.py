"""Settings of the forest by grouped cross-validation, within a budget of forests, not of seconds.

The settings are drawn in a fixed order with the recipe's own first, so a larger budget tries what a
smaller one did and more, and the outcome does not depend on how fast the machine is. Among a dozen
settings the best mean is partly luck: by the rule of one standard error the setting that changes
least is taken of those that lie within the best one's error, which mostly is the recipe's own.

What it costs: settings x folds small forests, about 0.15 s each for 1,200 labels.
Source: Breiman et al., "Classification and Regression Trees" (1984), section 3.4.3, for the rule;
Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization" (2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import average_precision_score

from classifiers.forest import FilterForest, Fold
from classifiers.votes import Scores

Settings = dict[str, Any]

CHOICES: dict[str, list[Any]] = {
    "max_depth": [20, 8, 5],
    "min_samples_leaf": [3, 1, 6, 12],
    "max_features": ["sqrt", 0.05, 0.25, 0.5],
    "balance": [1.0, 0.5, 0.0],
}


@dataclass(frozen=True)
class Tuned:
    """The model with the chosen settings, and all that were tried, in order."""

    model: FilterForest
    tried: list[Settings]  # the settings, with `pr_auc`, `standard_error` and `chosen`


def tune(
    model: FilterForest, folds: list[Fold], scores: Scores, settings: int, trees: int
) -> Tuned:
    """Try so many settings, each with so many trees on every fold, and choose."""
    candidates = draw_settings(model, settings)
    areas = np.array([_areas(clone(model).set_params(trees=trees, **c), folds, scores)
                      for c in candidates])  # fmt: skip
    if areas.shape[1] == 0:
        raise ValueError("no fold of the training labels holds both classes")
    means = areas.mean(axis=1)
    folds_told = areas.shape[1]  # with one fold there is no error, and so no reason to move
    spread = areas.std(axis=1, ddof=1) if folds_told > 1 else np.ones(len(areas))
    errors = spread / np.sqrt(folds_told)
    plain = candidates[0]
    leads = areas - areas[0]  # on the same folds: much of what makes folds differ cancels out
    lead_errors = leads.std(axis=1, ddof=1) / np.sqrt(folds_told)
    changes = [sum(c[name] != plain[name] for name in plain) for c in candidates]
    chosen = within_one_error(means.tolist(), errors.tolist(), changes)
    tried = [
        {
            **c,
            "pr_auc": float(mean),
            "standard_error": float(error),
            "chosen": i == chosen,
            "lead": float(leads[i].mean()),
            "lead_error": float(lead_errors[i]),
        }
        for i, (c, mean, error) in enumerate(zip(candidates, means, errors, strict=True))
    ]
    return Tuned(clone(model).set_params(**candidates[chosen]), tried)


def draw_settings(model: FilterForest, count: int) -> list[Settings]:
    """The model's own settings, then others in the order of its seed."""
    plain = {name: getattr(model, name) for name in CHOICES}
    every = [dict(zip(CHOICES, values, strict=True)) for values in product(*CHOICES.values())]
    others = [settings for settings in every if settings != plain]
    order = np.random.default_rng([model.seed, 41]).permutation(len(others))
    return [plain, *(others[i] for i in order[: count - 1])]


def within_one_error(means: list[float], errors: list[float], changes: list[int]) -> int:
    """The place of the one with fewest changes, then best, of those near enough to the best."""
    best = int(np.argmax(means))
    near = [i for i, mean in enumerate(means) if mean >= means[best] - errors[best]]
    return min(near, key=lambda i: (changes[i], -means[i]))


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
