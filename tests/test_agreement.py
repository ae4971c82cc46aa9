"""Agreement: the figures of reference packages, intervals that are honest, and their pictures."""

import json
import random
import time
import warnings
from itertools import combinations

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from pipeline.agreement import (
    count_by_document,
    count_pairs,
    measure_agreement,
    ordinal_alpha,
    quadratic_kappa,
)
from pipeline.label_plots import MOST_ROWS, plot_agreement, plot_labels, plot_unlabelled

SCORE = st.integers(0, 5)
PAIRS = st.lists(st.tuples(SCORE, SCORE), min_size=1, max_size=40)
TABLE = st.lists(st.lists(st.none() | SCORE, min_size=4, max_size=4), min_size=1, max_size=25)

# Krippendorff 2011, section C: four observers, twelve units, some of them not observed.
PUBLISHED = """
    1 2 3 3 2 1 4 1 2 . . .
    1 2 3 3 2 2 4 1 2 5 . 3
    . 3 3 3 2 3 4 2 2 5 1 .
    1 2 3 3 2 4 4 1 2 5 1 .
"""


def by_annotator(columns):
    """Scores by doc_id for each column of rows of scores, None left out."""
    return {
        f"annotator {k}": {f"{i:03}": score for i, score in enumerate(column) if score is not None}
        for k, column in enumerate(columns)
    }


def noisy(n, annotators, seed=0):
    """Annotators who see the same truth, each off by one at most."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, n)
    columns = [np.clip(truth + rng.integers(-1, 2, n), 0, 5).tolist() for _ in range(annotators)]
    return by_annotator(columns)


@given(PAIRS)
def test_kappa_is_that_of_scikit_learn(pairs):
    a, b = zip(*pairs, strict=True)
    if len({*a, *b}) == 1:
        assert quadratic_kappa(a, b) is None
        return
    expected = cohen_kappa_score(a, b, weights="quadratic", labels=range(6))
    assert quadratic_kappa(a, b) == pytest.approx(expected, abs=1e-12)


@given(TABLE)
def test_alpha_is_that_of_the_reference_package(table):
    counts = count_by_document(by_annotator(zip(*table, strict=True)))
    pairable = counts[counts.sum(axis=1) >= 2].sum(axis=0)
    if np.count_nonzero(pairable) < 2:
        assert ordinal_alpha(counts) is None
        return
    data = np.array([[np.nan if s is None else s for s in row] for row in table], float).T
    expected = krippendorff.alpha(data, level_of_measurement="ordinal", value_domain=list(range(6)))
    assert ordinal_alpha(counts) == pytest.approx(expected, abs=1e-9)


def test_alpha_is_the_published_one():
    rows = [[None if s == "." else int(s) for s in row.split()] for row in PUBLISHED.split("\n")]
    measured = measure_agreement(by_annotator(filter(None, rows)), 7)
    assert measured["alpha"]["value"] == pytest.approx(0.815, abs=5e-4)
    assert measured["alpha"]["n"] == 11


@given(PAIRS)
def test_the_figures_of_a_pair_are_what_they_say(pairs):
    a, b = zip(*pairs, strict=True)
    (pair,) = measure_agreement(by_annotator([a, b]), 7, resamples=20)["pairs"]
    apart = np.subtract(b, a)
    assert pair["n"] == len(pairs)
    assert pair["exact"] == pytest.approx(np.mean(apart == 0))
    assert pair["within_one"] == pytest.approx(np.mean(np.abs(apart) <= 1))
    assert pair["bias"] == pytest.approx(np.mean(apart))
    confusion = np.array(pair["confusion"])
    assert confusion.sum() == len(pairs)
    assert all(confusion[one, other] == pairs.count((one, other)) for one, other in pairs)
    if len(set(a)) > 1 < len(set(b)):
        assert pair["spearman"] == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)
    else:
        assert pair["spearman"] is None


def test_the_extremes():
    a = [0, 1, 2, 3, 4, 5]
    assert quadratic_kappa(a, a) == 1
    assert quadratic_kappa(a, a[::-1]) == pytest.approx(-1)
    assert quadratic_kappa([2, 2], [4, 4]) == 0  # as chance would have it
    assert quadratic_kappa([], []) is None
    (pair,) = measure_agreement(by_annotator([a, a]), 7)["pairs"]
    assert pair["interval"] == [1, 1]
    (constant,) = measure_agreement(by_annotator([[3, 3], [3, 3]]), 7)["pairs"]
    assert (constant["kappa"], constant["interval"], constant["exact"]) == (None, None, 1)


@pytest.mark.parametrize("wrong", [6, -1])
def test_a_score_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"scores are 0 to 5"):
        count_pairs([0, wrong], [0, 1])
    with pytest.raises(ValueError, match=r"scores are 0 to 5"):
        measure_agreement({"a": {"1": wrong}, "b": {"1": 1}}, 7)


@given(TABLE, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_it_depends_on_the_seed_and_not_on_the_order_of_documents(table, generator):
    scores = by_annotator(zip(*table, strict=True))
    shuffled = {
        name: dict(generator.sample(list(said.items()), len(said))) for name, said in scores.items()
    }
    measured = measure_agreement(scores, 7, 30)
    assert measure_agreement(shuffled, 7, 30) == measured
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_a_further_annotator_changes_no_figure_of_the_others():
    three = noisy(200, 3)
    two = dict(list(three.items())[:2])
    assert measure_agreement(three, 7)["pairs"][0] == measure_agreement(two, 7)["pairs"][0]
    assert measure_agreement(two, 7) != measure_agreement(two, 8)


def test_only_what_two_have_scored_is_compared():
    scores = {"a": {"1": 1, "2": 2}, "b": {"2": 3}, "c": {"3": 3}}
    measured = measure_agreement(scores, 7)
    assert [(pair["annotators"], pair["n"]) for pair in measured["pairs"]] == [(["a", "b"], 1)]
    assert measured["alpha"]["n"] == 1
    alone = measure_agreement({"a": {"1": 1}}, 7)
    assert (alone["pairs"], alone["alpha"]) == ([], {"value": None, "interval": None, "n": 0})
    assert measure_agreement({}, 7)["pairs"] == []


def test_intervals_are_those_of_drawing_documents():
    scores = noisy(150, 3)
    measured = measure_agreement(scores, 7, 2_000)
    a, b, _ = (list(said.values()) for said in scores.values())
    generator = random.Random(7)
    draws = [generator.choices(range(150), k=150) for _ in range(2_000)]
    kappas = [quadratic_kappa([a[i] for i in d], [b[i] for i in d]) for d in draws]
    counts = count_by_document(scores)
    alphas = [ordinal_alpha(counts[d]) for d in draws]
    for found, drawn in (
        (measured["pairs"][0]["interval"], kappas),
        (measured["alpha"]["interval"], alphas),
    ):
        assert found == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = measure_agreement(noisy(200_000, 2), 7, 2)["pairs"][0]["kappa"]
    covered = 0
    for seed in range(150):
        low, high = measure_agreement(noisy(120, 2, seed), 7, 200)["pairs"][0]["interval"]
        covered += low <= truth <= high
    assert 0.88 <= covered / 150 <= 0.99


def test_it_is_fast():
    scores = noisy(2_000, 4)
    began = time.perf_counter()
    measured = measure_agreement(scores, 7)
    assert time.perf_counter() - began < 2
    assert len(measured["pairs"]) == len(list(combinations(scores, 2)))
    for pair in measured["pairs"]:
        assert pair["interval"][0] < pair["kappa"] < pair["interval"][1]


def draw_all(folder, scores, histogram, reasons):
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_agreement(folder / "agreement.png", measure_agreement(scores, 7, 50))
        plot_labels(folder / "labels.png", histogram, "labels by $x$")
        plot_unlabelled(folder / "unlabelled.png", reasons)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_pictures_are_the_same_to_the_byte(tmp_path):
    histogram = {f"source {i}": {"1": i, "5": 3} for i in range(MOST_ROWS + 20)}
    reasons = {"_under $x$": {"refused": 2, "cut_off": 1}, "y": {"refused": 1}, "z": {}}
    drawn = [draw_all(tmp_path / n, noisy(50, 3), histogram, reasons) for n in ("one", "two")]
    assert drawn[0] == drawn[1]
    assert all(png.startswith(b"\x89PNG") and b"Software" not in png for png in drawn[0])


def test_where_there_is_nothing_to_draw_the_picture_says_so(tmp_path):
    empty = draw_all(tmp_path / "empty", {}, {}, {})
    alike = draw_all(
        tmp_path / "alike", {"a": {"1": 3}, "b": {"1": 3}}, {"web": {"3": 1}}, {"a": {}}
    )
    assert empty[0] != alike[0]
    assert empty[2] == alike[2]
