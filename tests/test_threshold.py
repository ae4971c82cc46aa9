"""Thresholds keep their promises, for any scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from classifiers.threshold import (
    Corpus,
    Decision,
    Labelled,
    Purpose,
    bootstrap,
    choose,
    curve,
    precision_recall,
)

SCORES = hnp.arrays(np.float32, st.integers(10, 120), elements=st.floats(0, 1, width=32))


def labelled(score, rng):
    return Labelled(score, score * 5, rng.random(len(score)) < score)


def corpus(score):
    return Corpus(score, score * 5, np.arange(1, len(score) + 1))


@given(SCORES, st.floats(0.01, 1), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_kept_share_is_never_more_than_asked_but_for_ties_at_the_top(score, share, seed):
    known = labelled(score, np.random.default_rng(seed))
    decision = choose(Purpose("keep_share", share), known, corpus(score))
    kept = int(decision.keep(score, score * 5).sum())
    wanted = max(1, round(share * len(score)))
    assert kept >= 1
    assert kept <= max(wanted, int(np.sum(score == score.max())))
    if len(set(score.tolist())) == len(score):
        assert kept == wanted


@given(SCORES, st.floats(0.05, 0.95), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_precision_floor_holds_or_is_refused(score, floor, seed):
    known = labelled(score, np.random.default_rng(seed))
    try:
        decision = choose(Purpose("precision_floor", floor), known, corpus(score))
    except ValueError as error:
        assert "the best is" in str(error)  # noqa: PT017  # either outcome is right
    else:
        keep = decision.keep(score, score * 5)
        assert precision_recall(known.positive, keep)[0] >= floor


def test_the_precision_floor_keeps_as_many_as_it_may():
    score = np.linspace(1, 0, 40, dtype=np.float32)
    positive = np.arange(40) < 20
    decision = choose(
        Purpose("precision_floor", 0.8), Labelled(score, score * 5, positive), corpus(score)
    )
    assert int(decision.keep(score, score).sum()) == 25


def test_an_expected_score_is_a_cut_on_the_expected_score():
    score = np.array([0.9, 0.1], np.float32)
    expected = np.array([2.9, 3.0], np.float32)
    known = Labelled(score, expected, np.array([True, False]))
    decision = choose(Purpose("expected_score", 3.0), known, Corpus(score, expected, score))
    assert decision.keep(score, expected).tolist() == [False, True]


@given(SCORES, st.integers(0, 2**32))
@settings(deadline=None)
def test_along_the_curve_less_is_kept_and_less_found(score, seed):
    points = curve(labelled(score, np.random.default_rng(seed)), corpus(score), "score")
    for name in ("kept_share", "kept_share_bytes", "recall"):
        along = [point[name] for point in points]
        assert along == sorted(along, reverse=True)
        assert all(0 <= value <= 1 for value in along)
    assert points[0]["kept_share"] == 1


@given(SCORES, st.integers(1, 20), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_interval_holds_the_estimate_when_groups_are_alike(score, groups, seed):
    rng = np.random.default_rng(seed)
    positive, keep = rng.random(len(score)) < 0.5, rng.random(len(score)) < 0.5
    names = np.array([f"g{i % groups}" for i in range(len(score))], object)
    found = bootstrap(positive, keep, names, rng)
    for low, high in found.values():
        assert 0 <= low <= high <= 1
    if groups == 1:
        assert found["precision"] == pytest.approx([precision_recall(positive, keep)[0]] * 2)


def test_keeping_nothing_or_finding_nothing_is_zero_not_an_error():
    none = np.zeros(3, bool)
    assert precision_recall(none, none) == (0.0, 0.0)
    assert precision_recall(np.array([True, False, True]), none) == (0.0, 0.0)
    assert Decision("score", 0.5).keep(np.array([0.5], np.float32), np.array([0.0])).all()
