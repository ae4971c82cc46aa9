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

from pipeline.labelled import Material, kinds_of, texts_of
from pipeline.stage import Workplace

if TYPE_CHECKING:
    from classifiers.embedding import WordEmbedding
    from classifiers.report import Judged, Metrics
    from classifiers.scorer import Scorer
    from pipeline.train_filter import Cut

_REPORT = "report"


def judge_filter(
    place: Workplace,
    material: Material,
    embedding: WordEmbedding,
    cut: Cut,
    rng: np.random.Generator,
) -> Metrics:
    """Write `report/`, and return the metrics in it."""
    from classifiers.report import (
        calibration_bins,
        measure,
        measure_by,
        permutation_importance,
        write_report,
    )
    from classifiers.scorer import Scorer
    from classifiers.threshold import bootstrap

    scorer = Scorer.open(place.out)
    judged = _judge_test(scorer, material)
    groups = np.array([row["group"] for row in material.test], object)
    features = scorer.features.transform(texts_of(material.test), kinds_of(material.test))
    labelled_by = place.needs["label"].facts
    metrics: dict[str, Any] = {
        **measure(judged),
        "intervals": bootstrap(judged.positive, judged.keep, groups, rng),
        "annotators": material.annotators,
        "annotator_is_llm": bool(labelled_by.get("annotator_is_llm", False)),
        "positive_score_min": scorer.positive_score_min,
        "purpose": asdict(cut.purpose),
        "decision": asdict(cut.decision),
        "labels_train": len(material.train),
        "labels_test": len(material.test),
        "labels_dropped": dict(material.dropped),
        "baselines": _baselines(place, material, embedding, judged, scorer.positive_score_min),
        "by_kind": measure_by(judged, "kind"),
        "by_source": measure_by(judged, "source"),
        "calibration": calibration_bins(judged),
        "importance": permutation_importance(
            lambda x: scorer.judge(x)[0], features, _families(scorer), judged.positive, rng
        ),
        "curve": cut.curve,
    }
    write_report(place.out / _REPORT, metrics, judged, material.annotators)
    return metrics


def _judge_test(scorer: Scorer, material: Material) -> Judged:
    from classifiers.report import Judged

    label = np.array([row["score"] for row in material.test], np.int64)
    positive = label >= scorer.positive_score_min
    score, expected, keep = scorer.score(texts_of(material.test), kinds_of(material.test))
    return Judged(material.test, label, positive, score, expected, keep)


def _baselines(
    place: Workplace,
    material: Material,
    embedding: WordEmbedding,
    judged: Judged,
    positive_score_min: int,
) -> dict[str, Any]:
    from classifiers.baselines import (
        fasttext_baseline,
        judge_baselines,
        length_baseline,
        linear_baseline,
    )
    from classifiers.forest import lexical_weights

    train, test = texts_of(material.train), texts_of(material.test)
    positive = np.array([row["score"] >= positive_score_min for row in material.train])
    lexical = lexical_weights(embedding.bags(train), positive)
    scores: dict[str, npt.NDArray[Any] | None] = {
        "fastText supervised": fasttext_baseline(train, positive, test, place.scratch),
        "logistic regression on the embedding": linear_baseline(
            embedding.transform(train), positive, embedding.transform(test)
        ),
        "linear on all words": embedding.bags(test) @ lexical,
        "length alone": length_baseline(_log_bytes(train), positive, _log_bytes(test)),
    }
    base_rate = float(judged.positive.mean())
    chance = {"precision": base_rate, "recall": float(judged.keep.mean()), "pr_auc": base_rate}
    return {
        **judge_baselines(scores, judged.positive, int(judged.keep.sum())),
        "base rate": chance,
    }


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
