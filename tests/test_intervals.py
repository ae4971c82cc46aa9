"""Intervals draw groups; the fast PR-AUC is scikit-learn's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from classifiers.intervals import (
    Ranking,
    area_rounds,
    draws,
    interval,
    rate_intervals,
    resampled_sums,
)
from classifiers.threshold import precision_recall

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3)), min_size=1)


@given(ROWS)
@settings(deadline=None)
def test_the_weighted_area_is_that_of_scikit_learn_on_repeated_rows(rows):
    positive, score, times = (np.array(column) for column in zip(*rows, strict=True))
    area = Ranking(positive.astype(bool), score.astype(np.float32)).area(times.astype(float))
    again = np.repeat(np.arange(len(rows)), times)
    if not positive[again].any():
        assert np.isnan(area)
    else:
        assert np.isclose(area, average_precision_score(positive[again], score[again]))


@given(st.integers(1, 40), st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_every_draw_has_as_many_groups_as_there_are(count, seed):
    assert all(times.sum() == count for times in draws(count, np.random.default_rng(seed), 20))


@given(st.integers(10, 100), st.integers(1, 12), st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_rates_lie_within_their_intervals(count, groups, seed):
    rng = np.random.default_rng(seed)
    positive, keep = rng.random(count) < 0.5, rng.random(count) < 0.5
    names = np.array([f"g{i % groups}" for i in range(count)], object)
    found = rate_intervals(positive, keep, rng.random(count), names, rng)
    for low, high in found.values():
        assert low is None or 0 <= low <= high <= 1
    if groups == 1 and keep.any() and positive.any():
        assert found["precision"] == [precision_recall(positive, keep)[0]] * 2


def test_documents_that_are_alike_within_groups_count_for_less():
    rng = np.random.default_rng(0)
    of_group = rng.random(20) < 0.5
    positive = np.repeat(of_group, 20)
    keep = np.ones(400, bool)
    widths = []
    for names in (np.repeat(np.arange(20), 20), np.arange(400)):
        low, high = rate_intervals(positive, keep, keep, names.astype(object), rng)["precision"]
        widths.append(high - low)
    assert widths[0] > 2.5 * widths[1]  # the square root of 20 documents a group is 4.5


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        of_group = rng.random(40) < 0.3
        values = np.repeat(of_group, 5)[:, None].astype(float)
        sums = resampled_sums(values, np.repeat(np.arange(40), 5).astype(object), rng)
        low, high = interval(sums[:, 0] / 200)
        covered += low <= 0.3 <= high
    assert covered >= 51  # 57 are expected, and fewer than 51 come once in 70 times


def test_what_is_nowhere_defined_is_null():
    assert interval(np.full(5, np.nan)) == [None, None]
    nothing = np.zeros(4, bool)
    names = np.array(list("abcd"), object)
    found = rate_intervals(nothing, nothing, nothing, names, np.random.default_rng(0))
    assert found["precision"] == found["recall"] == found["f1"] == [None, None]


def test_two_rankings_are_judged_on_the_same_draws():
    rng = np.random.default_rng(0)
    positive, score = rng.random(50) < 0.5, rng.random(50)
    names = np.arange(50).astype(object)
    rounds = area_rounds(positive, {"a": score, "b": 2 * score}, names, rng)
    assert np.array_equal(rounds["a"], rounds["b"])
    assert rounds["a"].std() > 0
