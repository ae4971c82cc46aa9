"""Would more labels help? The forest learned from fewer, and a power law through what it reached.

A random part of the training labels is what a smaller sample would have been, so forests learn
from ever larger parts of one random order, for several orders, and are judged on the test labels,
whose groups none of them saw. Through the points goes a - b n^-c, the later points weighing more,
and the curve is drawn out to twice and four times the labels, no further. The interval draws both
the orders and whole test groups again: where the fit says nothing, it is wide, and the report says
so. Forests are smaller than the filter's own, so the curve lies a little lower than the filter.

What it costs: 5 sizes x draws small forests, 3 s for 1,200 labels and 4 draws.
Source: Cortes et al., "Learning Curves: Asymptotic Values and Rate of Convergence" (1993);
Figueroa et al., "Predicting sample size required for classification performance" (2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.base import clone

from classifiers.forest import FilterForest, Groups, Matrix
from classifiers.intervals import Floats, Ranking, draws, interval, numbered
from classifiers.votes import Scores

SHARES = (0.1, 0.18, 0.32, 0.56, 1.0)
FEWEST_LABELS = 30
MOST_TREES = 50
FOLDS = 3  # of the cross-fitting within each part
ROUNDS = 300
AHEAD = (2, 4)  # times the labels of now
WORTH = 0.01  # PR-AUC; less than that is not worth twice the labels
_EXPONENTS = np.geomspace(0.1, 2, 300)


@dataclass(frozen=True)
class Learned:
    """`judged` float64[draws, sizes, N]: the test labels' scores by the forest of each part."""

    sizes: list[int]
    judged: Floats
    trees: int


def learn_on_less(
    model: FilterForest,
    x: Matrix, bags: csr_matrix, scores: Scores, groups: Groups,
    held_x: Matrix, held_bags: csr_matrix,
    orders: int, rng: np.random.Generator,
) -> Learned:  # fmt: skip
    """Forests on nested parts of so many random orders; sizes at which one cannot learn go."""
    positive = scores >= model.positive_score_min
    permuted = [rng.permutation(len(x)) for _ in range(orders)]
    wanted = sorted({round(share * len(x)) for share in SHARES})
    sizes = [n for n in wanted if n >= FEWEST_LABELS
             and all(_can_learn(positive[p[:n]], groups[p[:n]]) for p in permuted)]  # fmt: skip
    trees = min(model.trees, MOST_TREES)
    judged = np.zeros((orders, len(sizes), held_x.shape[0]))
    for i, order in enumerate(permuted):
        small = clone(model).set_params(trees=trees, folds=FOLDS, seed=model.seed + i)
        for j, size in enumerate(sizes):
            part = np.sort(order[:size])
            small.fit(x[part], bags[part], scores[part], groups[part])
            judged[i, j] = small.predict(held_x, held_bags)[:, 0]
    return Learned(sizes, judged, trees)


def learning_curve(
    learned: Learned, positive: npt.NDArray[np.bool_], groups: Groups, rng: np.random.Generator
) -> dict[str, Any]:
    """The points, the fit, the forecast with its interval, and what that means in a sentence."""
    rankings = [[Ranking(positive, score) for score in row] for row in learned.judged]
    areas = _areas(rankings, np.ones(len(positive)))
    points = [
        {"labels": size, "pr_auc": float(area.mean()), "least": float(area.min()),
         "most": float(area.max())}
        for size, area in zip(learned.sizes, areas.T, strict=True)
    ]  # fmt: skip
    found: dict[str, Any] = {
        "trees": learned.trees, "draws": len(learned.judged), "points": points, "forecast": [],
    }  # fmt: skip
    if len(learned.sizes) < 3:
        said = f"Too few labels to say whether more would help: {len(learned.sizes)} sizes, not 3."
        return {**found, "fit": None, "verdict": said}
    rounds = _rounds(rankings, groups, rng)
    fit, fits = (
        fit_power_law(learned.sizes, means) for means in (areas.mean(axis=0)[None], rounds)
    )
    found["forecast"] = [_forecast(learned.sizes[-1], times, fit, fits) for times in AHEAD]
    a, b, c = (float(value) for value in fit[0])
    named = {"a": a, "b": b * learned.sizes[-1] ** c, "c": c}
    return {**found, "fit": named, "verdict": _verdict(found["forecast"][0])}


def fit_power_law(sizes: Sequence[int], values: Floats) -> Floats:
    """float[R, S] -> float64[R, 3]: (a, b, c) of a - b (n / N)^-c by weighted least squares.

    N is the last size; b is at least 0 and a at most 1; sizes weigh in proportion to their place.
    """
    weights = np.arange(1, len(sizes) + 1) / np.arange(1, len(sizes) + 1).sum()
    best = np.full(len(values), np.inf)
    found = np.zeros((len(values), 3))
    for c in _EXPONENTS:
        z = (np.array(sizes) / sizes[-1]) ** -c
        z_mean, means = weights @ z, values @ weights
        spread = weights @ (z - z_mean) ** 2
        b = np.maximum(-(values - means[:, None]) @ (weights * (z - z_mean)) / spread, 0)
        a = means + b * z_mean
        touching = np.maximum((1 - values) @ (weights * z) / (weights @ z**2), 0)
        a, b = np.where(a > 1, 1.0, a), np.where(a > 1, touching, b)
        wrong = ((values - a[:, None] + b[:, None] * z) ** 2) @ weights
        better = wrong < best - 1e-15
        best = np.where(better, wrong, best)
        found[better] = np.column_stack([a, b, np.full(len(a), c)])[better]
    return found


def _can_learn(positive: npt.NDArray[np.bool_], groups: Groups) -> bool:
    """Both classes in enough groups that each fold of the cross-fitting has some to learn from."""
    return all(len(set(groups[positive == side])) >= FOLDS for side in (False, True))


def _areas(rankings: list[list[Ranking]], weights: Floats) -> Floats:
    return np.array([[ranking.area(weights) for ranking in row] for row in rankings])


def _rounds(rankings: list[list[Ranking]], groups: Groups, rng: np.random.Generator) -> Floats:
    """float64[rounds, sizes]: mean PR-AUC over orders drawn again, on test groups drawn again."""
    number, count = numbered(groups)
    found = []
    for times in draws(count, rng, ROUNDS):
        orders = rng.integers(0, len(rankings), len(rankings))
        areas = _areas(rankings, times[number])[orders].mean(axis=0)
        if not np.isnan(areas).any():
            found.append(areas)
    return np.array(found)


def _forecast(labels: int, times: int, fit: Floats, fits: Floats) -> dict[str, Any]:
    """PR-AUC at so many times the labels, and how much more that is than at these labels."""
    reached, gained = ([a - b * float(times) ** -c for a, b, c in found] for found in (fit, fits))
    more, gains = ([b * (1 - float(times) ** -c) for _, b, c in found] for found in (fit, fits))
    return {
        "labels": labels * times,
        "times": times,
        "pr_auc": float(reached[0]),
        "interval": interval(np.array(gained)),
        "gain": float(more[0]),
        "gain_interval": interval(np.array(gains)),
    }


def _verdict(twice: dict[str, Any]) -> str:
    low, high = twice["gain_interval"]
    said = f"{twice['labels']:,} labels are forecast to bring {twice['gain']:.3f} PR-AUC more"
    between = f"(95 % interval {low:.3f} to {high:.3f})"
    if low >= WORTH:
        return f"More labels would help: {said} {between}."
    if high < WORTH:
        return f"More labels of this sort would hardly help: {said} {between}."
    return f"These labels cannot tell whether more would help: {said} {between}."
