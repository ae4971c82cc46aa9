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
    choose,
    precision_recall,
)

SCORES = hnp.arrays(np.float32, st.integers(10, 120), elements=st.floats(0, 1, width=32))


def groups(count, size=4):
    return np.array([f"g{i // size}" for i in range(count)], object)


def labelled(score, rng):
    return Labelled(score, score * 5, rng.random(len(score)) < score, groups(len(score)))


def corpus(score, total_bytes=1_000_000):
    sizes = np.arange(1, len(score) + 1)
    return Corpus(score, score * 5, sizes, groups(len(score)), 10 * len(score), total_bytes)


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
        Purpose("precision_floor", 0.8),
        Labelled(score, score * 5, positive, groups(40)),
        corpus(score),
    )
    assert int(decision.keep(score, score).sum()) == 25


def test_an_expected_score_is_a_cut_on_the_expected_score():
    score = np.array([0.9, 0.1], np.float32)
    expected = np.array([2.9, 3.0], np.float32)
    known = Labelled(score, expected, np.array([True, False]), groups(2))
    decision = choose(Purpose("expected_score", 3.0), known, corpus(score))
    assert decision.keep(score, expected).tolist() == [False, True]


@given(SCORES, st.integers(1, 1_000_000), st.floats(1, 16))
@settings(deadline=None)
def test_a_token_budget_is_never_overspent_and_nearly_spent(score, budget, bytes_per_token):
    whole = corpus(score)
    tokens = whole.n_bytes / whole.n_bytes.sum() * whole.total_bytes / bytes_per_token
    best = tokens[score == score.max()].sum()
    purpose = Purpose("token_budget", budget, bytes_per_token)
    if best > budget * (1 + 1e-9):
        with pytest.raises(ValueError, match="its best stand for"):
            choose(purpose, labelled(score, np.random.default_rng(0)), whole)
        return
    keep = choose(purpose, labelled(score, np.random.default_rng(0)), whole).keep(score, score * 5)
    assert tokens[keep].sum() <= budget * (1 + 1e-9)
    if not keep.all():  # the next best, with all that tie with it, would not have fitted
        following = score == score[~keep].max()
        assert tokens[keep].sum() + tokens[following].sum() > budget * (1 - 1e-9)


def test_keeping_nothing_or_finding_nothing_is_zero_not_an_error():
    none = np.zeros(3, bool)
    assert precision_recall(none, none) == (0.0, 0.0)
    assert precision_recall(np.array([True, False, True]), none) == (0.0, 0.0)
    assert Decision("score", 0.5).keep(np.array([0.5], np.float32), np.array([0.0])).all()
