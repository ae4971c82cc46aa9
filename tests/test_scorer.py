"""A filter opened from disk: it scores as when it was made, and refuses what is not whole."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from filter_material import corpus, put

from classifiers.features import Features
from classifiers.scorer import Scorer
from conftest import Bench
from pipeline.filter_config import TrainFilterConfig
from pipeline.train_filter import STAGE

SMALL = TrainFilterConfig(trees=30, corpus_sample=200, folds=3)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("scorer"))
    put(bench)
    return bench.make(STAGE, SMALL).path


@pytest.fixture(scope="module")
def texts():
    return pa.array([row["text"] for row, _ in corpus()])


def test_batches_change_nothing(directory, texts):
    scorer = Scorer.open(directory)
    kinds = pa.array(["code"] * len(texts))
    whole = scorer.score(texts, kinds)
    parts = [scorer.score(texts[i : i + 97], kinds[i : i + 97]) for i in range(0, len(texts), 97)]
    for column, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(column, np.concatenate(pieces))
    score, expected, keep = whole
    assert np.array_equal(keep, scorer.decision.keep(score, expected))
    assert (score.dtype, expected.dtype, keep.dtype) == (np.float32, np.float32, bool)
    assert np.corrcoef(score, expected)[0, 1] > 0.8


def test_the_kind_is_a_feature_and_every_column_has_a_name(directory, texts):
    features = Features.open(directory / "features")
    code, web = (features.transform(texts[:3], pa.array([kind] * 3)) for kind in ("code", "web"))
    assert code.shape == (3, len(features.names))
    assert np.array_equal(code[:, 1:], web[:, 1:])
    assert (code[:, 0].tolist(), web[:, 0].tolist()) == ([1.0] * 3, [0.0] * 3)


def test_no_documents_and_empty_documents(directory):
    scorer = Scorer.open(directory)
    empty = scorer.score(pa.array([], pa.string()), pa.array([], pa.string()))
    assert [len(column) for column in empty] == [0, 0, 0]
    score, _, _ = scorer.score(pa.array(["", None]), pa.array(["web", "code"]))
    assert np.isfinite(score).all()


def test_a_flipped_byte_or_another_version_is_refused(directory, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(directory, damaged)
    table = next((damaged / "features").glob("words-*.npy"))
    content = bytearray(table.read_bytes())
    content[-1] ^= 1
    table.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        Scorer.open(damaged)
    cut = json.loads((damaged / "threshold.json").read_text())
    (damaged / "threshold.json").write_text(json.dumps({**cut, "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        Scorer.open(damaged)
