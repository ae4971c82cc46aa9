"""Calibration: votes become frequencies, the order stays, and both ways travel as knots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.calibration import WAYS, Calibration, compare_ways
from classifiers.forest import split_by_group


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("way", WAYS)
def test_calibration_makes_votes_into_frequencies(way):
    rng = np.random.default_rng(0)
    raw = rng.random(4_000)
    target = rng.random(4_000) < sigmoid(6 * raw - 3.5)
    found = Calibration(1.0, way).fit(raw, target)
    asked = np.array([0.2, 0.5, 0.8])
    assert np.abs(found.predict(asked) - sigmoid(6 * asked - 3.5)).max() < 0.06


def test_isotonic_follows_what_is_no_sigmoid():
    rng = np.random.default_rng(0)
    raw = rng.random(4_000)
    target = rng.random(4_000) < raw**3
    found = Calibration().fit(raw, target)
    assert np.abs(found.predict(np.array([0.3, 0.6, 0.9])) - [0.027, 0.216, 0.729]).max() < 0.06


def test_the_knots_of_platt_s_way_lie_on_its_sigmoid():
    """Between the knots, too: the logit of what is read off the lines is straight."""
    rng = np.random.default_rng(1)
    raw = rng.random(500)
    found = Calibration(1.0, "platt").fit(raw, rng.random(500) < sigmoid(12 * raw - 6))
    at = np.linspace(0, 1, 997)
    ends = found.knots_[[0, -1], 1]
    logits = np.log(ends / (1 - ends))
    exact = sigmoid(logits[0] + (logits[1] - logits[0]) * at)
    assert np.abs(found.predict(at) - exact).max() < 2e-4


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60),
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
    st.sampled_from(WAYS),
    st.sampled_from([1.0, 5.0]),
)
@settings(deadline=None)
def test_calibration_never_turns_an_order_around(pairs, asked, way, top):
    raw, target = (top * np.array(column, float) for column in zip(*pairs, strict=True))
    found = Calibration(top, way).fit(raw, target)
    heights = found.predict(top * np.sort(asked))
    assert np.all(np.diff(heights) >= 0)
    assert heights.min() >= 0
    assert heights.max() <= top
    again = Calibration.from_knots(top, found.knots_.tolist())
    assert np.array_equal(again.predict(np.array(asked)), found.predict(np.array(asked)))


@pytest.mark.parametrize(
    ("truth", "count", "better"),
    [(lambda raw: sigmoid(6 * raw - 3), 80, "platt"), (lambda raw: raw > 0.5, 2_000, "isotonic")],
)
def test_the_comparison_prefers_what_fits_the_votes(truth, count, better):
    rng = np.random.default_rng(3)
    raw = rng.random(count)
    positive = rng.random(count) < truth(raw) * 0.6 + 0.2 * (better == "isotonic")
    groups = np.array([f"g{i % 20}" for i in range(count)], object)
    brier = compare_ways(raw, positive, split_by_group(positive, groups, 5, 0))
    assert set(brier) == {"isotonic", "platt", "none"}
    assert min(WAYS, key=brier.get) == better
