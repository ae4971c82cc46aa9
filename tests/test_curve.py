"""The curve: less is kept along it, each point is the truth of its samples, with an interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_threshold import SCORES, corpus, labelled

from classifiers.curve import curve
from classifiers.threshold import Decision, precision_recall


@given(SCORES, st.integers(0, 2**32), st.sampled_from(["score", "expected_score"]))
@settings(deadline=None, max_examples=20)
def test_along_the_curve_less_is_kept_and_less_found(score, seed, by):
    rng = np.random.default_rng(seed)
    known, whole = labelled(score, rng), corpus(score)
    points = curve(known, whole, Decision(by, 0.4), 4.0, rng)
    for name in ("kept_share", "kept_share_bytes", "kept_tokens", "recall"):
        along = [point[name] for point in points if point[name] is not None]
        assert along == sorted(along, reverse=True)
    assert points[0]["kept_share"] == 1 or points[0]["chosen"]
    assert [p["threshold"] for p in points if p["chosen"]] == [float(np.float32(0.4))]
    for point in points:
        for low, high in point["intervals"].values():
            assert low is None or low <= high


def test_a_point_says_what_its_threshold_does_to_both_samples():
    rng = np.random.default_rng(0)
    score = rng.random(200).astype(np.float32)
    known, whole = labelled(score, rng), corpus(score)
    points = curve(known, whole, Decision("score", 0.5), 2.5, rng)
    (point,) = (p for p in points if p["chosen"])
    keep = score >= 0.5
    assert (point["precision"], point["recall"]) == precision_recall(known.positive, keep)
    assert point["kept_share"] == keep.mean()
    assert point["kept_documents"] == round(keep.mean() * whole.total_documents)
    share = whole.n_bytes[keep].sum() / whole.n_bytes.sum()
    assert point["kept_tokens"] == pytest.approx(share * whole.total_bytes / 2.5, abs=1)
    for name in ("precision", "recall", "kept_share", "kept_share_bytes", "kept_tokens"):
        low, high = point["intervals"][name]
        assert low < point[name] < high


def test_the_precision_of_nothing_kept_is_null():
    rng = np.random.default_rng(0)
    score = rng.random(40).astype(np.float32)
    last = curve(labelled(score, rng), corpus(score), Decision("score", 2.0), 4.0, rng)[-1]
    assert (last["chosen"], last["precision"], last["recall"]) == (True, None, 0.0)
    assert last["intervals"]["precision"] == [None, None]
