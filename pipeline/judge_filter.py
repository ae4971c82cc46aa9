"""The report of stage 4: the sealed filter, opened again, on test labels it never saw.

What is judged is the ONNX forest, the saved features and the saved threshold, not the objects in
memory that made them: a mistake in saving them would show here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.labelled import Material, groups_of, kinds_of, scores_of, texts_of
from pipeline.stage import Workplace

if TYPE_CHECKING:
    from classifiers.embedding import WordEmbedding
    from classifiers.report import Judged, Metrics
    from classifiers.scorer import Scorer
    from pipeline.learn_filter import Trained
    from pipeline.train_filter import Cut

_REPORT = "report"


def judge_filter(
    place: Workplace,
    material: Material,
    trained: Trained,
    cut: Cut,
    learning_curve_draws: int | None,
    rng: np.random.Generator,
) -> Metrics:
    """Write `report/`, and return the metrics in it."""
    from classifiers.baselines import judge_baselines
    from classifiers.importance import permutation_importance
    from classifiers.intervals import rate_intervals
    from classifiers.report import calibration_bins, measure, measure_by, write_report
    from classifiers.scorer import Scorer

    scorer = Scorer.open(place.out)
    judged = _judge_test(scorer, material)
    groups = groups_of(material.test)
    features = scorer.features.transform(texts_of(material.test), kinds_of(material.test))
    labelled_by = place.needs["label"].facts
    scores = _baseline_scores(place, material, trained.embedding, scorer.positive_score_min)
    baselines, area = judge_baselines(
        scores, judged.score, judged.positive, int(judged.keep.sum()), groups, rng
    )
    base_rate = float(judged.positive.mean())
    rates = rate_intervals(judged.positive, judged.keep, judged.score, groups, rng)
    metrics: dict[str, Any] = {
        **measure(judged),
        "intervals": {**rates, "pr_auc": area},
        "annotators": material.annotators,
        "annotator_is_llm": bool(labelled_by.get("annotator_is_llm", False)),
        "positive_score_min": scorer.positive_score_min,
        "purpose": asdict(cut.purpose),
        "decision": asdict(cut.decision),
        "corpus": {"documents": material.corpus_documents, "bytes": material.corpus_bytes},
        "labels_train": len(material.train),
        "labels_test": len(material.test),
        "labels_dropped": dict(material.dropped),
        "baselines": {
            **baselines,
            "base rate": {
                "precision": base_rate, "recall": float(judged.keep.mean()), "pr_auc": base_rate
            },
        },
        "by_kind": measure_by(judged, "kind"),
        "by_source": measure_by(judged, "source"),
        "calibration": calibration_bins(judged),
        **trained.told,
        "importance": permutation_importance(
            lambda x: scorer.judge(x)[0], features, _families(scorer), judged.positive, rng
        ),
        "learning_curve": _learning_curve(material, trained, features, learning_curve_draws, rng),
        "leakage": material.leakage.describe(),
        "curve": cut.curve,
    }  # fmt: skip
    write_report(place.out / _REPORT, metrics, judged, material.annotators)
    return metrics


def _judge_test(scorer: Scorer, material: Material) -> Judged:
    from classifiers.report import Judged

    label = scores_of(material.test)
    positive = label >= scorer.positive_score_min
    score, expected, keep = scorer.score(texts_of(material.test), kinds_of(material.test))
    return Judged(material.test, label, positive, score, expected, keep)


def _baseline_scores(
    place: Workplace, material: Material, embedding: WordEmbedding, positive_score_min: int
) -> dict[str, npt.NDArray[Any] | None]:
    """What each baseline, trained on the same labels, says of the test texts."""
    from classifiers.baselines import (
        fasttext_baseline,
        length_baseline,
        linear_baseline,
        regression_baseline,
    )
    from classifiers.forest import lexical_weights

    train, test = texts_of(material.train), texts_of(material.test)
    labels = scores_of(material.train)
    positive = labels >= positive_score_min
    axes, test_axes = embedding.transform(train), embedding.transform(test)
    lexical = lexical_weights(embedding.bags(train), positive)
    return {
        "fastText supervised": fasttext_baseline(train, positive, test, place.scratch),
        "linear regression on the embedding": regression_baseline(axes, labels, test_axes),
        "logistic regression on the embedding": linear_baseline(axes, positive, test_axes),
        "linear on all words": embedding.bags(test) @ lexical,
        "length alone": length_baseline(_log_bytes(train), positive, _log_bytes(test)),
    }


def _learning_curve(
    material: Material,
    trained: Trained,
    features: npt.NDArray[np.float32],
    draws: int | None,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """What fewer labels would have reached; `features` are the test rows', `lexical` last."""
    from classifiers.features import dense_features
    from classifiers.learning_curve import learn_on_less, learning_curve

    if draws is None:
        return None
    embedding, texts = trained.embedding, texts_of(material.train)
    scores, test_scores = scores_of(material.train), scores_of(material.test)
    learned = learn_on_less(
        trained.forest, dense_features(embedding, texts, kinds_of(material.train)),
        embedding.bags(texts), scores, groups_of(material.train),
        features[:, :-1], embedding.bags(texts_of(material.test)), draws, rng,
    )  # fmt: skip
    positive = test_scores >= trained.forest.positive_score_min
    return learning_curve(learned, positive, groups_of(material.test), rng)


def _log_bytes(texts: pa.Array) -> npt.NDArray[np.float64]:
    sizes: npt.NDArray[np.int64] = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    return np.log1p(sizes)


def _families(scorer: Scorer) -> dict[str, list[int]]:
    """Columns to shuffle together: whole families, and every feature that can stand alone."""
    names = scorer.features.names
    axes = [i for i, name in enumerate(names) if name.startswith("word_axis")]
    alone = {name: [i] for i, name in enumerate(names) if i not in axes}
    structure = [i for name, (i,) in alone.items() if name not in ("is_code", "lexical")]
    return {"all structural numbers": structure, "all axes of the word embedding": axes, **alone}
