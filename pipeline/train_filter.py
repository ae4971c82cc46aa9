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
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.drift_reference import (
    REFERENCE,
    REFERENCE_DOCUMENTS,
    make_reference,
    save_reference,
    set_apart,
)
from pipeline.errors import InputError, StageError
from pipeline.filter_config import TokenBudget, TrainFilterConfig
from pipeline.increment import IncrementConfig, VersionedStage, inherited_or
from pipeline.judge_filter import judge_filter
from pipeline.labelled import (
    Material,
    Row,
    groups_of,
    kinds_of,
    read_material,
    texts_of,
)
from pipeline.learn_filter import Trained, learn_filter
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Workplace

if TYPE_CHECKING:
    from classifiers.scorer import Scorer
    from classifiers.threshold import Corpus, Decision, Labelled, Purpose

_NAME = "train-filter"
_FEWEST_TRAIN = 10  # labels of each class; below this a fold may hold none
_FEWEST_TEST = 1
_CURES = {
    "precision_floor": "lower train_filter.purpose.value, or label more documents",
    "token_budget": "raise train_filter.corpus_sample or train_filter.purpose.value",
}


@dataclass(frozen=True)
class Cut:
    """Where the filter cuts, what for, and the curve along which the cut was chosen."""

    purpose: Purpose
    decision: Decision
    curve: list[dict[str, Any]]


def train_filter(place: Workplace) -> Outcome:
    """Train, calibrate, cut and judge; seal what stage 5 needs and the report."""
    config = place.section(TrainFilterConfig)
    rng = np.random.default_rng([place.seed, 4])
    with place.bar("train and judge", 5) as advance:
        material = read_material(
            _NAME,
            place.needs["clean"].files("documents/*.parquet"),
            place.needs["label"].file("labels.parquet"),
            config.corpus_sample + REFERENCE_DOCUMENTS,
            rng,
        )
        material, apart = set_apart(material, config.corpus_sample, rng)
        _check_labels(material, config)
        purpose = _purpose(config, material)
        advance(note="learn")
        trained = learn_filter(material, config, place.seed)
        advance(note="cut")
        cut = _seal_filter(place, material, apart, trained, purpose, rng)
        advance(note="judge")
        metrics = judge_filter(place, material, trained, cut, config.learning_curve_draws, rng)
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


def _purpose(config: TrainFilterConfig, material: Material) -> Purpose:
    """What the cut is for; InputError where the corpus cannot serve it."""
    from classifiers.threshold import BYTES_PER_TOKEN, Purpose

    wanted = config.purpose
    if not isinstance(wanted, TokenBudget):
        return Purpose(wanted.kind, wanted.value, BYTES_PER_TOKEN)
    tokens = int(material.corpus_bytes / wanted.bytes_per_token)
    if wanted.value > tokens:
        raise InputError(
            _NAME,
            f"train_filter.purpose asks for {wanted.value:,} tokens, and the corpus has about "
            f"{tokens:,} ({material.corpus_bytes:,} bytes at {wanted.bytes_per_token} a token)",
            f"lower train_filter.purpose.value to at most {tokens}, or take in more documents",
        )
    return Purpose(wanted.kind, wanted.value, wanted.bytes_per_token)


def _seal_filter(
    place: Workplace,
    material: Material,
    apart: list[Row],
    trained: Trained,
    purpose: Purpose,
    rng: np.random.Generator,
) -> Cut:
    """Pick the cut, and write forest.onnx, features/, threshold.json and reference.json."""
    from classifiers.curve import curve
    from classifiers.threshold import choose

    undecided = trained.uncut_scorer()
    corpus = _judge_corpus(undecided, material, trained.held_out)
    try:
        decision = choose(purpose, trained.held_out, corpus)
    except ValueError as error:
        raise StageError(_NAME, str(error), _CURES[purpose.kind]) from error
    points = curve(trained.held_out, corpus, decision, purpose.bytes_per_token, rng)
    described = {
        "purpose": asdict(purpose),
        "corpus": _describe(corpus),
        "curve": points,
    }
    replace(undecided, decision=decision).save(place.out, described)
    seen = [row["doc_id"] for row in (*material.sample, *material.train)]
    save_reference(place.out / REFERENCE, make_reference(undecided, apart, seen))
    return Cut(purpose, decision, points)


def _describe(corpus: Corpus) -> dict[str, Any]:
    """Quantiles and a histogram, against which later corpora can be held."""
    quantiles = np.quantile(corpus.score, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    histogram, _ = np.histogram(corpus.score, bins=20, range=(0, 1))
    return {
        "documents": len(corpus.score),
        "quantiles": [float(q) for q in quantiles],
        "histogram": histogram.tolist(),
        "total_documents": corpus.total_documents,
        "total_bytes": corpus.total_bytes,
    }


def _judge_corpus(scorer: Scorer, material: Material, held_out: Labelled) -> Corpus:
    """The sample's scores; a training document's is the one from out of its fold."""
    from classifiers.threshold import Corpus

    score, expected, _ = scorer.score(texts_of(material.sample), kinds_of(material.sample))
    place_of = {row["doc_id"]: i for i, row in enumerate(material.train)}
    for i, row in enumerate(material.sample):
        if row["doc_id"] in place_of:
            score[i] = held_out.score[place_of[row["doc_id"]]]
            expected[i] = held_out.expected_score[place_of[row["doc_id"]]]
    sizes = np.array([row["n_bytes"] for row in material.sample], np.int64)
    return Corpus(
        score, expected, sizes, groups_of(material.sample),
        material.corpus_documents, material.corpus_bytes,
    )  # fmt: skip


STAGE = VersionedStage(
    number=4,
    name=_NAME,
    version=5,
    needs=("clean", "label"),
    makes=("forest.onnx", "features/*", "threshold.json", REFERENCE,
           "report/metrics.json", "report/report.html"),
    sees=(TrainFilterConfig, IncrementConfig),
    work=inherited_or(train_filter),
)  # fmt: skip
