"""The forest: no group leaks, ONNX decides as scikit-learn does, the bytes are always the same."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from classifiers.calibration import Calibration
from classifiers.forest import FilterForest, out_of_fold, split_by_group, to_onnx
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


def test_a_graph_that_is_not_a_forest_is_refused():
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    with pytest.raises(ValueError, match="not one forest"):
        TreeWalk.read(onnx.helper.make_model(graph).SerializeToString())


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


def test_calibration_makes_votes_into_frequencies():
    rng = np.random.default_rng(0)
    raw = rng.random(4_000)
    target = rng.random(4_000) < raw**3
    found = Calibration().fit(raw, target)
    assert np.abs(found.predict(np.array([0.3, 0.6, 0.9])) - [0.027, 0.216, 0.729]).max() < 0.06


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60),
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
@settings(deadline=None)
def test_calibration_never_turns_an_order_around(pairs, asked):
    raw, target = np.array([r for r, _ in pairs]), np.array([t for _, t in pairs])
    found = Calibration().fit(raw, target)
    heights = found.predict(np.sort(asked))
    assert np.all(np.diff(heights) >= 0)
    assert heights.min() >= 0
    assert heights.max() <= 1
    again = Calibration.from_knots(1.0, found.knots_.tolist())
    assert np.array_equal(again.predict(np.array(asked)), found.predict(np.array(asked)))
