"""The forest: no group leaks, ONNX decides as scikit-learn does, the bytes are always the same."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from filter_material import SCORE_OF, corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from classifiers.calibration import Calibration
from classifiers.embedding import WordEmbedding
from classifiers.features import Features, dense_features
from classifiers.forest import FilterForest, out_of_fold, split_by_group, to_onnx
from classifiers.scorer import Forest, Scorer
from classifiers.threshold import Corpus, Purpose, choose
from classifiers.tree_walk import TreeWalk
from classifiers.votes import read_votes

ROOT = Path(__file__).resolve().parents[1]


def material(rows=400, columns=12, groups=20, seed=0):
    """Features of which two tell the score, bags of which one word does, labels with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    bags = (rng.random((rows, 50)) < 0.1).astype(np.float32)
    truth = x[:, 0] + x[:, 1] + 2 * bags[:, 7] + 0.3 * rng.normal(size=rows)
    scores = np.clip(np.round(2 + truth), 0, 5).astype(np.int64)
    names = np.array([f"g{i}" for i in rng.integers(0, groups, rows)], object)
    return x, csr_matrix(bags), scores, names


@pytest.fixture(scope="module")
def fitted():
    return FilterForest(trees=60, workers=1).fit(*material())


def test_it_learns_and_its_two_numbers_agree_with_the_labels(fitted):
    x, bags, scores, _ = material(seed=1)
    probability, expected = fitted.predict(x, bags).T
    assert probability[scores >= 3].mean() > probability[scores < 3].mean() + 0.3
    assert np.corrcoef(expected, scores)[0, 1] > 0.8


def test_walk_onnx_runtime_and_scikit_learn_decide_alike_on_ten_thousand_rows(fitted):
    """Half of the rows lie exactly on thresholds of the trees, where rounding would show."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(10_000, 13)).astype(np.float32)
    for tree in fitted.forest_.estimators_:
        inner = np.flatnonzero(tree.tree_.feature >= 0)
        for node in rng.choice(inner, 80):
            at = np.float32(tree.tree_.threshold[node])
            rows[rng.integers(0, 10_000), tree.tree_.feature[node]] = at
    graph = to_onnx(fitted.forest_)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    classes = fitted.forest_.classes_
    engines = (
        TreeWalk.read(graph).weigh(rows, np.eye(len(classes))),
        session.run(["probabilities"], {"features": rows})[0],
        fitted.forest_.predict_proba(rows),
    )
    kept = [read_votes(votes, classes, 3)[:, 0] >= 0.437 for votes in engines]
    for votes, keep in zip(engines, kept, strict=True):
        assert np.abs(votes - engines[-1]).max() < 2e-6
        assert np.array_equal(keep, kept[-1])


PIECE_CHARACTERS = 1_500


def real_pieces(count):
    """(text, repository, score) of pieces of real files, with weak labels."""
    cut = [
        (row["text"][at : at + PIECE_CHARACTERS], row["group"], SCORE_OF[nature])
        for row, nature in corpus(3_000)
        for at in range(0, len(row["text"]), PIECE_CHARACTERS)
    ]
    chosen = np.random.default_rng(0).choice(len(cut), count, replace=False)
    return [cut[i] for i in chosen]


def test_on_ten_thousand_real_pieces_every_decision_is_that_of_scikit_learn(tmp_path):
    """From text to decision: a filter saved and opened, ONNX Runtime, and the forest in memory."""
    texts, names, scores = zip(*real_pieces(10_000), strict=True)
    texts, kinds = pa.array(texts, pa.large_string()), pa.array(["code"] * 10_000)
    few, y = texts[:800], np.array(scores[:800])
    embedding = WordEmbedding().fit(few)
    model = FilterForest(trees=60).fit(
        dense_features(embedding, few, kinds[:800]), embedding.bags(few), y,
        np.array(names[:800], object),
    )  # fmt: skip
    forest, classes = model.forest_, model.forest_.classes_
    features = Features(embedding.idf_, np.column_stack([embedding.table_, model.lexical_]))
    columns = features.transform(texts, kinds)
    raw = read_votes(forest.predict_proba(columns), classes, 3)
    calibration = (Calibration().fit(raw[:800, 0], y >= 3), Calibration(5).fit(raw[:800, 1], y))
    score, expected = (c.predict(r) for c, r in zip(calibration, raw.T, strict=True))
    graph = to_onnx(forest)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    votes = session.run(["probabilities"], {"features": columns})[0]
    by_runtime = [c.predict(r) for c, r in
                  zip(calibration, read_votes(votes, classes, 3).T, strict=True)]  # fmt: skip
    sizes, groups = np.ones(10_000, np.int64), np.array(names, object)
    sample = Corpus(score, expected, sizes, groups, 10_000, 10_000)
    for purpose in (*(Purpose("keep_share", share) for share in (0.1, 0.3, 0.6)),
                    Purpose("expected_score", 3.0)):  # fmt: skip
        decision = choose(purpose, None, sample)
        keep = decision.keep(score, expected)
        Scorer(Forest.open(graph), features, classes, 3, calibration, decision).save(tmp_path, {})
        found = Scorer.open(tmp_path).score(texts, kinds)
        assert np.array_equal(found[2], keep)
        assert np.array_equal(decision.keep(*by_runtime), keep)
        assert 0 < keep.sum() < 10_000
        for ours, theirs, other in zip(found, (score, expected), by_runtime, strict=False):
            assert np.abs(ours - theirs).max() < 1e-6
            assert np.abs(other - theirs).max() < 2e-5  # float32 votes, times the steepest knots


def test_a_graph_that_is_not_a_forest_is_refused():
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    with pytest.raises(ValueError, match="not one forest"):
        TreeWalk.read(onnx.helper.make_model(graph).SerializeToString())


def test_folds_made_once_judge_as_forests_fitted_anew():
    """What tuning relies on: the columns of a fold do not depend on the settings."""
    x, bags, scores, groups = material(rows=200)
    model = FilterForest(trees=20, workers=1)
    held = np.zeros((200, 2))
    for train, rest in split_by_group(scores >= 3, groups, 5, 0):
        fresh = FilterForest(trees=20, workers=1)
        fresh.fit(x[train], bags[train], scores[train], groups[train])
        held[rest] = fresh.predict(x[rest], bags[rest])
    assert np.array_equal(out_of_fold(model, x, bags, scores, groups), held)


def test_without_balance_a_rare_class_gets_fewer_votes():
    x, bags, scores, groups = material()
    rare = np.where((scores >= 3) & (np.arange(400) % 4 > 0), 0, scores)
    votes = [
        FilterForest(trees=20, workers=1, balance=b).fit(x, bags, rare, groups).predict(x, bags)
        for b in (1.0, 0.0)
    ]
    assert votes[0][:, 0].mean() > votes[1][:, 0].mean() + 0.02


@pytest.mark.long
def test_the_exported_bytes_are_the_same_in_another_process(fitted):
    script = (
        "import hashlib; from test_forest import *;"
        "forest = FilterForest(trees=60, workers=2).fit(*material()).forest_;"
        "print(hashlib.sha256(to_onnx(forest)).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONHASHSEED": "5"},
    )  # fmt: skip
    assert there.stdout.strip() == hashlib.sha256(to_onnx(fitted.forest_)).hexdigest()


@given(st.integers(2, 8), st.integers(0, 1_000))
@settings(max_examples=25, deadline=None)
def test_no_group_is_on_both_sides_and_every_row_is_held_out_once(folds, seed):
    _, _, scores, groups = material(rows=120, seed=seed)
    parts = split_by_group(scores >= 3, groups, folds, seed)
    for train, held in parts:
        assert not set(groups[train]) & set(groups[held])
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(120))


def test_what_cannot_be_held_out_is_refused():
    groups = np.array(["a", "a", "b", "b"], object)
    with pytest.raises(ValueError, match="groups"):
        split_by_group(np.array([True, True, False, False]), groups, 5, 0)


def test_a_judgement_out_of_the_fold_knows_nothing_of_its_group():
    """Labels that are pure noise by group cannot be guessed; in-sample they would be."""
    x, bags, _, groups = material(rows=300, groups=30)
    rng = np.random.default_rng(5)
    truth = {name: int(rng.integers(0, 2)) * 4 for name in sorted(set(groups))}
    x[:, 0] = [int(name[1:]) for name in groups]
    scores = np.array([truth[name] for name in groups])
    model = FilterForest(trees=30, workers=1)
    held = out_of_fold(model, x, bags, scores, groups)[:, 0]
    seen = model.fit(x, bags, scores, groups).predict(x, bags)[:, 0]
    positive = scores >= 3
    assert seen[positive].mean() - seen[~positive].mean() > 0.4
    assert held[positive].mean() - held[~positive].mean() < 0.2
