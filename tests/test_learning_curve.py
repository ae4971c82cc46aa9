"""The forecast: exact on a power law, silent on noise, and honest in its sentence."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_forest import material

from classifiers.forest import FilterForest
from classifiers.learning_curve import (
    FEWEST_LABELS,
    Learned,
    fit_power_law,
    learn_on_less,
    learning_curve,
)

SIZES = [100, 180, 320, 560, 1_000]


@given(st.floats(0.3, 1), st.floats(0, 0.3), st.floats(0.1, 2))
@settings(deadline=None)
def test_a_power_law_is_found_again_where_it_is_drawn_out(a, b, c):
    truth = a - b * (np.array(SIZES) / 1_000) ** -c
    assume(truth.min() >= 0)  # as every PR-AUC is
    (found,) = fit_power_law(SIZES, truth[None])
    for times in (2, 4):
        assert found[0] - found[1] * times ** -found[2] == pytest.approx(
            a - b * times**-c, abs=0.004
        )


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
@settings(deadline=None)
def test_whatever_the_points_the_curve_rises_and_stays_below_one(areas):
    (a, b, c), *_ = fit_power_law(SIZES, np.array([areas]))
    assert a <= 1 + 1e-9
    assert b >= 0
    assert c > 0


def judged(skill, rng, draws=4, count=300):
    """Scores of forests whose skill is given by size, on one test set of 60 groups."""
    positive = rng.random(count) < 0.4
    score = np.array([[s * positive + rng.normal(size=count) for s in skill] for _ in range(draws)])
    return Learned(SIZES, score, 50), positive, np.array([f"g{i % 60}" for i in range(count)])


def test_a_curve_that_still_rises_says_that_more_would_help():
    rng = np.random.default_rng(0)
    found = learning_curve(*judged([0.3, 0.7, 1.2, 1.8, 2.5], rng), rng)
    assert found["verdict"].startswith("More labels would help")
    low, high = found["forecast"][0]["gain_interval"]
    assert 0.01 <= low < high
    assert found["forecast"][1]["pr_auc"] > found["forecast"][0]["pr_auc"]
    assert [f["labels"] for f in found["forecast"]] == [2_000, 4_000]


def test_a_flat_curve_promises_nothing():
    rng = np.random.default_rng(0)
    learned, positive, groups = judged([3.0] * 5, rng)
    learned.judged[:] = learned.judged[:1, :1]  # the same scores, however many labels
    found = learning_curve(learned, positive, groups, rng)
    assert "would hardly help" in found["verdict"]
    assert found["forecast"][1]["gain"] == 0


def test_noise_says_that_it_cannot_tell():
    rng = np.random.default_rng(2)
    found = learning_curve(*judged([0.6, 0.2, 0.7, 0.3, 0.6], rng, 2, 120), rng)
    assert "cannot tell" in found["verdict"]


def test_too_few_labels_give_no_fit_and_say_so():
    x, bags, scores, groups = material(rows=60)
    rng = np.random.default_rng(0)
    model = FilterForest(trees=10, workers=1)
    learned = learn_on_less(model, x, bags, scores, groups, x, bags, 2, rng)
    assert all(size >= FEWEST_LABELS for size in learned.sizes)
    found = learning_curve(learned, scores >= 3, groups, rng)
    assert (found["fit"], found["forecast"]) == (None, [])
    assert found["verdict"].startswith("Too few labels")


def test_more_labels_of_an_easy_task_are_seen_to_help():
    """End to end, on labels of which the forest can learn more than the smallest part shows."""
    x, bags, scores, groups = material(rows=800)
    held_x, held_bags, held, names = material(rows=400, seed=1)
    rng = np.random.default_rng(0)
    model = FilterForest(trees=20, workers=1)
    learned = learn_on_less(model, x, bags, scores, groups, held_x, held_bags, 2, rng)
    assert learned.sizes == [80, 144, 256, 448, 800]
    found = learning_curve(learned, held >= 3, names, rng)
    areas = [point["pr_auc"] for point in found["points"]]
    assert areas[-1] > areas[0] + 0.02
    assert found["forecast"][0]["pr_auc"] >= areas[-1] - 0.02
