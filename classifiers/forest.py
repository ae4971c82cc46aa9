"""The random forest of the filter: what it learns from, how, and its form for other programs.

One forest predicts the score itself, as classes 0 to 5: its votes give both the probability of
the positive class (the sum of the upper classes' shares) and the expected score, from one model
and one pass. The classes are weighted so that positive and negative labels count the same in all.

A forest on a thousand labels cannot weigh thousands of words, a linear model can: a ridge
regression on the whole bag of words is handed to it as one more number, `lexical`. It is worked
out by cross-fitting (each label's own group never helped to make its number), as in stacking.

Decisions outlive scikit-learn: the forest is exported to ONNX, whose thresholds are float32 like
the features. scikit-learn keeps them in float64; `fit` rounds them down to float32, so that
`x <= threshold` is the same question in both.

Source: Breiman, "Random Forests" (2001); Wolpert, "Stacked Generalization" (1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from classifiers.votes import Scores, read_votes

Matrix = npt.NDArray[np.float32]
Groups = npt.NDArray[np.object_]

LEXICAL_RIDGE = 0.5  # rows have unit length, so this is half of what one row weighs


class FilterForest(BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """float32[N, F] features and float32[N, buckets] bags of words -> float64[N, 2].

    The answer's columns are the raw probability of a positive label and the raw expected score;
    both await calibration. Learned: `forest_`, `lexical_` float32[buckets].
    """

    def __init__(
        self,
        trees: int = 200,
        max_depth: int | None = 20,
        min_samples_leaf: int = 3,
        positive_score_min: int = 3,
        folds: int = 5,
        seed: int = 0,
        workers: int = 2,
        max_features: float | Literal["sqrt"] = "sqrt",
        balance: float = 1.0,
    ) -> None:
        self.trees = trees
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        self.positive_score_min = positive_score_min
        self.folds = folds
        self.seed = seed
        self.workers = workers
        self.max_features = max_features
        self.balance = balance

    def fit(self, x: Matrix, bags: csr_matrix, scores: Scores, groups: Groups) -> FilterForest:
        positive = scores >= self.positive_score_min
        self.lexical_ = lexical_weights(bags, positive)
        return self.grow(self.cross_fitted(x, bags, positive, groups), scores)

    def cross_fitted(
        self, x: Matrix, bags: csr_matrix, positive: npt.NDArray[np.bool_], groups: Groups
    ) -> Matrix:
        """The columns to learn from: each row's `lexical` comes from other groups' labels."""
        lexical = np.zeros(len(x), np.float32)
        for train, held in split_by_group(positive, groups, self.folds, self.seed):
            lexical[held] = bags[held] @ lexical_weights(bags[train], positive[train])
        return np.column_stack([x, lexical])

    def grow(self, columns: Matrix, scores: Scores) -> FilterForest:
        """The forest alone, on columns that hold `lexical` already."""
        forest = RandomForestClassifier(
            self.trees,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            max_features=self.max_features,
            class_weight=self._class_weights(scores),
            random_state=self.seed,
            n_jobs=self.workers,
        ).fit(columns, scores)
        for tree in forest.estimators_:
            tree.tree_.threshold[:] = _round_down(tree.tree_.threshold)
        forest.n_jobs = 1  # threads would add up the votes in any order
        self.forest_ = forest
        return self

    def _class_weights(self, scores: Scores) -> dict[int, float]:
        """Of each score: both sides count the same in all, or less so for a `balance` below 1."""
        positive = scores >= self.positive_score_min
        shares = {True: positive.mean(), False: 1 - positive.mean()}
        return {
            int(s): (0.5 / shares[bool(s >= self.positive_score_min)]) ** self.balance
            for s in set(scores)
        }

    def columns(self, x: Matrix, bags: csr_matrix) -> Matrix:
        """What the forest itself reads: the features, and `lexical` at the end."""
        return np.column_stack([x, bags @ self.lexical_]).astype(np.float32)

    def predict(self, x: Matrix, bags: csr_matrix) -> npt.NDArray[np.float64]:
        return self.judge(self.columns(x, bags))

    def judge(self, columns: Matrix) -> npt.NDArray[np.float64]:
        """`predict` where the columns are made already."""
        votes = self.forest_.predict_proba(columns)
        return read_votes(votes, self.forest_.classes_, self.positive_score_min)


@dataclass(frozen=True)
class Fold:
    """One part of the labels held out, and the columns of both sides; settings do not move them."""

    train: npt.NDArray[np.int64]
    held: npt.NDArray[np.int64]
    columns: Matrix
    held_columns: Matrix


def make_folds(
    model: FilterForest, x: Matrix, bags: csr_matrix, scores: Scores, groups: Groups
) -> list[Fold]:
    """What a forest of each fold learns from and judges, `lexical` included."""
    positive = scores >= model.positive_score_min
    folds = []
    for train, held in split_by_group(positive, groups, model.folds, model.seed):
        columns = model.cross_fitted(x[train], bags[train], positive[train], groups[train])
        lexical = bags[held] @ lexical_weights(bags[train], positive[train])
        held_columns = np.column_stack([x[held], lexical]).astype(np.float32)
        folds.append(Fold(train, held, columns, held_columns))
    return folds


def judge_folds(model: FilterForest, folds: list[Fold], scores: Scores) -> npt.NDArray[np.float64]:
    """float64[N, 2]: each label judged by a forest that saw nothing of its group."""
    raw = np.zeros((len(scores), 2))
    for fold in folds:
        raw[fold.held] = (
            clone(model).grow(fold.columns, scores[fold.train]).judge(fold.held_columns)
        )
    return raw


def out_of_fold(
    model: FilterForest, x: Matrix, bags: csr_matrix, scores: Scores, groups: Groups
) -> npt.NDArray[np.float64]:
    """`judge_folds` of the folds made on the way."""
    return judge_folds(model, make_folds(model, x, bags, scores, groups), scores)


def split_by_group(
    positive: npt.NDArray[np.bool_], groups: Groups, folds: int, seed: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(train, held) rows of each fold; no group on both sides, positives spread evenly.

    ValueError where one class has fewer than two groups: nothing could be held out.
    """
    groups_of = [len(set(groups[positive == side])) for side in (False, True)]
    if min(groups_of) < 2:
        raise ValueError(f"negative and positive labels come from {groups_of} groups")
    folds = min(folds, len(set(groups)))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(groups)), positive, groups)
    return [(train, held) for train, held in parts if len(held)]


def to_onnx(forest: RandomForestClassifier) -> bytes:
    """The forest as an ONNX graph: `features` float32[N, F] -> `votes` float32[N, classes]."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    graph = convert_sklearn(
        forest,
        name="filter",  # otherwise a name from a memory address
        initial_types=[("features", FloatTensorType([None, forest.n_features_in_]))],
        final_types=None,
        options={id(forest): {"zipmap": False}},
        target_opset={"": 18, "ai.onnx.ml": 3},
    )
    return bytes(graph.SerializeToString(deterministic=True))


def lexical_weights(bags: csr_matrix, positive: npt.NDArray[np.bool_]) -> Matrix:
    """The ridge regression's weight of each bucket; both classes of labels count the same."""
    share = min(max(float(positive.mean()), 1e-6), 1 - 1e-6)
    weights = np.where(positive, 0.5 / share, 0.5 / (1 - share))
    ridge = Ridge(LEXICAL_RIDGE, fit_intercept=False, solver="sparse_cg", tol=1e-4)
    with threadpool_limits(1):  # threads would add up in an order of their own
        ridge.fit(bags, np.where(positive, 1.0, -1.0), sample_weight=weights)
    return np.asarray(ridge.coef_, np.float32)


def _round_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > thresholds, below, nearest).astype(np.float64)
