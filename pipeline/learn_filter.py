"""Learn from the training labels: the word embedding, the forest, and its calibration.

Everything that is chosen here (settings, the way of calibration) is chosen on labels that a forest
without their groups has judged; the test labels have no part in it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.filter_config import TrainFilterConfig, Tuning
from pipeline.labelled import Material, groups_of, kinds_of, scores_of, texts_of

if TYPE_CHECKING:
    from classifiers.calibration import Calibration, Way
    from classifiers.embedding import WordEmbedding
    from classifiers.forest import FilterForest, Fold
    from classifiers.scorer import Scorer
    from classifiers.threshold import Labelled

log = logging.getLogger("primer")


@dataclass(frozen=True)
class Trained:
    """What the training labels made."""

    embedding: WordEmbedding
    forest: FilterForest
    calibration: tuple[Calibration, Calibration]  # of the score, of the expected score
    held_out: Labelled  # the training labels, each judged out of its fold
    told: dict[str, Any]  # how it was tuned and calibrated, for the report

    def uncut_scorer(self) -> Scorer:
        """The filter before its cut is chosen: it keeps everything."""
        from classifiers.features import Features
        from classifiers.forest import to_onnx
        from classifiers.scorer import Forest, Scorer
        from classifiers.threshold import Decision

        table = np.column_stack([self.embedding.table_, self.forest.lexical_])
        return Scorer(
            Forest.open(to_onnx(self.forest.forest_)), Features(self.embedding.idf_, table),
            self.forest.forest_.classes_, self.forest.positive_score_min, self.calibration,
            Decision("score", 0.0),
        )  # fmt: skip


def learn_filter(material: Material, config: TrainFilterConfig, seed: int) -> Trained:
    """Fit everything on the training labels; the embedding on the sample of the corpus too."""
    from classifiers.calibration import Calibration
    from classifiers.embedding import WordEmbedding
    from classifiers.features import dense_features
    from classifiers.forest import FilterForest, judge_folds, make_folds
    from classifiers.threshold import Labelled
    from classifiers.votes import TOP_SCORE

    unseen = {row["group"] for row in material.test}
    words = [row for row in material.sample if row["group"] not in unseen] + material.train
    embedding = WordEmbedding(config.embedding_dimensions, config.embedding_buckets, seed)
    embedding.fit(texts_of(words))
    texts, kinds = texts_of(material.train), kinds_of(material.train)
    x, bags = dense_features(embedding, texts, kinds), embedding.bags(texts)
    scores, groups = scores_of(material.train), groups_of(material.train)
    model = FilterForest(
        config.trees, config.max_depth, config.min_samples_leaf, config.positive_score_min,
        config.folds, seed, config.workers,
    )  # fmt: skip
    folds = make_folds(model, x, bags, scores, groups)
    model, tuning = _tune(model, folds, scores, config.tuning)
    raw = judge_folds(model, folds, scores)
    positive = scores >= config.positive_score_min
    way, brier = _calibrate(raw[:, 0], positive, folds, config)
    probability = Calibration(1.0, way).fit(raw[:, 0], positive)
    expected = Calibration(TOP_SCORE, way).fit(raw[:, 1], scores)
    held_out = Labelled(
        probability.predict(raw[:, 0]), expected.predict(raw[:, 1]), positive, groups
    )
    model.fit(x, bags, scores, groups)
    told = {
        "tuning": tuning,
        "calibrated_by": {"way": way, "asked": config.calibration, "brier": brier},
    }
    return Trained(embedding, model, (probability, expected), held_out, told)


def _tune(
    model: FilterForest, folds: list[Fold], scores: Any, asked: Tuning | None
) -> tuple[FilterForest, dict[str, Any] | None]:
    """The model with the settings that were chosen, and what was tried."""
    from classifiers.tuning import tune

    if asked is None:
        return model, None
    started = time.perf_counter()
    tuned = tune(model, folds, scores, asked.settings, asked.trees)
    forests = len(tuned.tried) * len(folds)
    log.info("train-filter: %d forests for tuning, %.1f s", forests, time.perf_counter() - started)
    told = {"trees": asked.trees, "folds": len(folds), "forests": forests, "tried": tuned.tried}
    return tuned.model, told


def _calibrate(
    raw: Any, positive: Any, folds: list[Fold], config: TrainFilterConfig
) -> tuple[Way, dict[str, float]]:
    """The way of calibration, and the cross-validated Brier score of each."""
    from classifiers.calibration import WAYS, compare_ways

    brier = compare_ways(raw, positive, [(fold.train, fold.held) for fold in folds])
    if config.calibration != "auto":
        return config.calibration, brier
    return min(WAYS, key=lambda way: brier[way]), brier
