"""The filter's forest and all that it must beat, trained on one split and asked about the rest.

The forest is the filter's own, step by step as stage 4 trains it: an embedding of the training
texts, the dense features, the cross-fitted lexical score, and calibration on votes out of fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.judged_sets import Judged
from classifiers.baselines import fasttext_baseline, length_baseline, linear_baseline
from classifiers.calibration import Calibration
from classifiers.embedding import WordEmbedding
from classifiers.features import dense_features
from classifiers.forest import FilterForest, lexical_weights, out_of_fold

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]

FOREST = "forest"
FOREST_AND_ENCODER = "forest with the encoder"
RIDGES = np.logspace(-1, 5, 13)  # of rows with standardized columns


@dataclass(frozen=True)
class Verdict:
    """What a judge says of the held-out documents: an order, and the forest more than that."""

    ranking: Floats
    probability: Floats | None = None
    expected_score: Floats | None = None


@dataclass(frozen=True)
class Split:
    """A set parted into training rows and held-out rows; `vectors` are an encoder's.

    `calibrated` asks the forest for its probability too, which costs five forests more.
    """

    judged: Judged
    train: Rows
    held: Rows
    seed: int
    vectors: npt.NDArray[np.float32] | None = None
    calibrated: bool = False


def judge(split: Split, scratch: Path) -> Iterator[tuple[str, Verdict]]:
    """Every judge's verdict, by name; fastText's is missing where it does not train."""
    judged, train, held = split.judged, split.train, split.held
    texts, positive = judged.texts, judged.positive
    ours, others = texts.take(pa.array(train)), texts.take(pa.array(held))
    embedding = WordEmbedding(seed=split.seed).fit(ours)
    x, bags = dense_features(embedding, texts, judged.kinds), embedding.bags(texts)
    yield FOREST, _forest(split, x, bags, split.calibrated)
    if split.vectors is not None:
        wider = np.column_stack([x, split.vectors])
        yield FOREST_AND_ENCODER, _forest(split, wider, bags, False)
        yield from _linear(split, split.vectors, "encoder")
    found = fasttext_baseline(ours, positive[train], others, scratch)
    if found is not None:
        yield "fastText supervised", Verdict(found)
    yield from _linear(split, embedding.transform(texts), "embedding")
    lexical = lexical_weights(bags[train], positive[train])
    yield "linear on all words", Verdict(bags[held] @ lexical)
    sizes = np.log1p(pc.binary_length(texts).to_numpy(zero_copy_only=False))
    yield "length alone", Verdict(length_baseline(sizes[train], positive[train], sizes[held]))
    if judged.formula is not None:
        yield "Flesch-Kincaid grade", Verdict(judged.formula[held])
    base_rate = np.full(len(held), positive[train].mean())
    yield "base rate", Verdict(base_rate, base_rate if split.calibrated else None)


def _forest(
    split: Split, x: npt.NDArray[np.float32], bags: csr_matrix, calibrated: bool
) -> Verdict:
    """The filter's forest on these columns."""
    train, held = split.train, split.held
    scores, groups = split.judged.scores[train], split.judged.groups[train]
    model = FilterForest(seed=split.seed, workers=1).fit(x[train], bags[train], scores, groups)
    found = model.predict(x[held], bags[held])
    if not calibrated:
        return Verdict(found[:, 0], expected_score=found[:, 1])
    raw = out_of_fold(model, x[train], bags[train], scores, groups)[:, 0]
    probability = Calibration().fit(raw, split.judged.positive[train])
    return Verdict(found[:, 0], probability.predict(found[:, 0]), found[:, 1])


def _linear(
    split: Split, columns: npt.NDArray[np.float32], name: str
) -> Iterator[tuple[str, Verdict]]:
    """Logistic regression on the class and ridge regression on the score (FineWeb-Edu's way)."""
    judged, train, held = split.judged, split.train, split.held
    logistic = linear_baseline(columns[train], judged.positive[train], columns[held])
    yield f"logistic regression on the {name}", Verdict(logistic)
    ridge = make_pipeline(StandardScaler(), RidgeCV(RIDGES))
    with threadpool_limits(1):
        found = ridge.fit(columns[train], judged.scores[train]).predict(columns[held])
    yield f"ridge on the {name}", Verdict(found, expected_score=found)
