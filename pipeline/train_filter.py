"""Stage 4: from a few labels to a filter for everything: features, forest, threshold, report.

The forest learns from the labels of the split "train"; the threshold is picked on the same labels,
each judged by a forest that saw nothing of its group, and on a uniform sample of the corpus; the
report is made on the split "test", whose groups were never seen, not even by the word embedding,
and through the very files that stage 5 will use.

What it costs: about 20 s for 1,500 labels on two cores, half of it imports, compiling, and the
baselines. docs/filter.md explains the features and what each brings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow.compute as pc
from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.errors import StageError
from pipeline.judge_filter import judge_filter
from pipeline.labelled import Material, Row, kinds_of, read_material, texts_of
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Stage, Workplace

if TYPE_CHECKING:
    from classifiers.calibration import Calibration
    from classifiers.embedding import WordEmbedding
    from classifiers.forest import FilterForest
    from classifiers.scorer import Scorer
    from classifiers.threshold import Corpus, Decision, Labelled, Purpose

_NAME = "train-filter"
_FEWEST_TRAIN = 10  # labels of each class; below this a fold may hold none
_FEWEST_TEST = 1


class KeepShare(Section):
    """Keep the best part of the corpus."""

    kind: Literal["keep_share"] = Field("keep_share", description="A share of the corpus.")
    value: float = Field(0.3, gt=0, le=1, description="Share of the corpus's documents to keep.")


class PrecisionFloor(Section):
    """Keep as much as possible while enough of it is good."""

    kind: Literal["precision_floor"] = Field("precision_floor", description="A precision to reach.")
    value: float = Field(0.8, gt=0, lt=1, description="Least precision of the positive class.")


class ExpectedScore(Section):
    """Keep what is expected to score at least so much."""

    kind: Literal["expected_score"] = Field(
        "expected_score", description="An expected score to reach."
    )
    value: float = Field(3.0, ge=0, le=5, description="Least expected score, 0 to 5.")


class TrainFilterConfig(Section):
    """The forest that learns from the labels, and where it cuts."""

    positive_score_min: int = Field(
        3, ge=1, le=5, description="A label of at least this score (0 to 5) is positive."
    )
    purpose: Annotated[KeepShare | PrecisionFloor | ExpectedScore, Field(discriminator="kind")] = (
        Field(KeepShare(), description="What the threshold is for: what it must reach.")
    )
    trees: int = Field(200, ge=10, le=2_000, description="Trees in the forest.")
    max_depth: int | None = Field(
        20, ge=1, le=64, description="Levels of a tree at most; null for no limit."
    )
    min_samples_leaf: int = Field(3, ge=1, le=1_000, description="Labels in a leaf at least.")
    folds: int = Field(5, ge=2, le=20, description="Parts of the training labels, by group.")
    embedding_dimensions: int = Field(
        32, ge=2, le=256, description="Axes of the word embedding that is trained on the corpus."
    )
    embedding_buckets: int = Field(
        16_384, ge=256, le=1_048_576, description="Rows of the embedding's table of hashed words."
    )
    corpus_sample: int = Field(
        2_000, ge=50, le=100_000,
        description="Documents drawn from the corpus for the embedding and for the kept share.",
    )  # fmt: skip
    workers: int = Field(
        2, ge=1, le=256, description="Trees grown at a time.", json_schema_extra=HOW
    )


@dataclass(frozen=True)
class Trained:
    """What the training labels made."""

    embedding: WordEmbedding
    forest: FilterForest
    calibration: tuple[Calibration, Calibration]  # of the score, of the expected score
    held_out: Labelled  # the training labels, each judged out of its fold


@dataclass(frozen=True)
class Cut:
    """Where the filter cuts, what for, and the curve along which the cut was chosen."""

    purpose: Purpose
    decision: Decision
    curve: list[dict[str, float]]


def train_filter(place: Workplace) -> Outcome:
    """Train, calibrate, cut and judge; seal what stage 5 needs and the report."""
    config = place.section(TrainFilterConfig)
    rng = np.random.default_rng([place.seed, 4])
    with place.bar("train and judge", 5) as advance:
        material = read_material(
            place.needs["clean"].files("documents/*.parquet"),
            place.needs["label"].file("labels.parquet"),
            config.corpus_sample,
            rng,
        )
        _check_labels(material, config)
        advance(note="learn")
        trained = _train(material, config, place.seed)
        advance(note="cut")
        cut = _seal_filter(place, material, trained, config)
        advance(note="judge")
        metrics = judge_filter(place, material, trained.embedding, cut, rng)
        advance(2)
    used = len(material.train) + len(material.test)
    stated = [
        "precision", "recall", "f1", "pr_auc", "brier", "base_rate", "positive_score_min",
        "labels_train", "labels_test", "annotators", "annotator_is_llm", "baselines",
    ]  # fmt: skip
    facts = {name: metrics[name] for name in stated}
    facts |= {"threshold": cut.decision.at, "threshold_by": cut.decision.by}
    return Outcome(Ledger("labels", material.rows_in, used, dict(material.dropped)), facts)


def _check_labels(material: Material, config: TrainFilterConfig) -> None:
    """Refuse early, with counts, what could only make a filter that looks whole."""
    cure = (
        "label more documents, draw them from more groups, or lower train_filter.positive_score_min"
    )
    for name, rows, fewest in (
        ("train", material.train, _FEWEST_TRAIN),
        ("test", material.test, _FEWEST_TEST),
    ):
        sides: dict[bool, list[Row]] = {True: [], False: []}
        for row in rows:
            sides[row["score"] >= config.positive_score_min].append(row)
        groups = min(len({row["group"] for row in side}) for side in sides.values())
        if min(map(len, sides.values())) < fewest or (name == "train" and groups < 2):
            raise StageError(
                _NAME,
                f"the {name} split has {len(sides[True])} positive and {len(sides[False])} "
                f"negative labels from {len({row['group'] for row in rows})} groups, and needs "
                f"{fewest} of each, in at least {2 if name == 'train' else 1} groups",
                cure,
            )


def _train(material: Material, config: TrainFilterConfig, seed: int) -> Trained:
    from classifiers.calibration import Calibration
    from classifiers.embedding import WordEmbedding
    from classifiers.features import dense_features
    from classifiers.forest import FilterForest, out_of_fold
    from classifiers.threshold import Labelled
    from classifiers.votes import TOP_SCORE

    unseen = {row["group"] for row in material.test}
    words = [row for row in material.sample if row["group"] not in unseen] + material.train
    embedding = WordEmbedding(config.embedding_dimensions, config.embedding_buckets, seed)
    embedding.fit(texts_of(words))
    texts, kinds = texts_of(material.train), kinds_of(material.train)
    x, bags = dense_features(embedding, texts, kinds), embedding.bags(texts)
    scores = np.array([row["score"] for row in material.train], np.int64)
    groups = np.array([row["group"] for row in material.train], object)
    model = FilterForest(
        config.trees, config.max_depth, config.min_samples_leaf, config.positive_score_min,
        config.folds, seed, config.workers,
    )  # fmt: skip
    raw = out_of_fold(model, x, bags, scores, groups)
    positive = scores >= config.positive_score_min
    probability = Calibration().fit(raw[:, 0], positive)
    expected = Calibration(TOP_SCORE).fit(raw[:, 1], scores)
    held_out = Labelled(probability.predict(raw[:, 0]), expected.predict(raw[:, 1]), positive)
    model.fit(x, bags, scores, groups)
    return Trained(embedding, model, (probability, expected), held_out)


def _seal_filter(
    place: Workplace, material: Material, trained: Trained, config: TrainFilterConfig
) -> Cut:
    """Pick the cut, and write forest.onnx, features/ and threshold.json."""
    from classifiers.features import Features
    from classifiers.forest import to_onnx
    from classifiers.scorer import Forest, Scorer
    from classifiers.threshold import Decision, Purpose, choose, curve

    model = trained.forest
    table = np.column_stack([trained.embedding.table_, model.lexical_])
    undecided = Scorer(
        Forest.open(to_onnx(model.forest_)), Features(trained.embedding.idf_, table),
        model.forest_.classes_, config.positive_score_min, trained.calibration,
        Decision("score", 0.0),
    )  # fmt: skip
    corpus = _judge_corpus(undecided, material, trained.held_out)
    purpose = Purpose(config.purpose.kind, config.purpose.value)
    try:
        decision = choose(purpose, trained.held_out, corpus)
    except ValueError as error:
        raise StageError(
            _NAME, str(error), "lower train_filter.purpose.value, or label more documents"
        ) from error
    points = curve(trained.held_out, corpus, decision.by)
    described = {
        "purpose": asdict(purpose),
        "corpus": _describe(corpus.score),
        "curve": points,
    }
    replace(undecided, decision=decision).save(place.out, described)
    return Cut(purpose, decision, points)


def _describe(score: Any) -> dict[str, Any]:
    """Quantiles and a histogram, against which later corpora can be held."""
    quantiles = np.quantile(score, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    histogram, _ = np.histogram(score, bins=20, range=(0, 1))
    return {
        "documents": len(score),
        "quantiles": [float(q) for q in quantiles],
        "histogram": histogram.tolist(),
    }


def _judge_corpus(scorer: Scorer, material: Material, held_out: Labelled) -> Corpus:
    """The sample's scores; a training document's is the one from out of its fold."""
    from classifiers.threshold import Corpus

    texts = texts_of(material.sample)
    score, expected, _ = scorer.score(texts, kinds_of(material.sample))
    place_of = {row["doc_id"]: i for i, row in enumerate(material.train)}
    for i, row in enumerate(material.sample):
        if row["doc_id"] in place_of:
            score[i] = held_out.score[place_of[row["doc_id"]]]
            expected[i] = held_out.expected_score[place_of[row["doc_id"]]]
    return Corpus(score, expected, pc.binary_length(texts).to_numpy(zero_copy_only=False))


STAGE = Stage(
    number=4,
    name=_NAME,
    version=3,
    needs=("clean", "label"),
    makes=("forest.onnx", "features/*", "threshold.json", "report/metrics.json",
           "report/report.html"),
    sees=(TrainFilterConfig,),
    work=train_filter,
)  # fmt: skip
