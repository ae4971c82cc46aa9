"""The benchmark against people: its comparison, its judges on documents made here, its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.human_judgement import AREA, BRIER, CORRELATION, measure, precision_of_best, tell
from benchmarks.judged_sets import JUDGED_SETS, Judged
from benchmarks.judges import FOREST, Split, judge
from benchmarks.labelled_sets import DATA
from benchmarks.paired import compare
from classifiers.forest import split_by_group

EXPLAINED = "A loop visits each item in turn, because a list keeps them in order. We add {}.\n"
LISTED = "BUY {} NOW http://shop.example/{} !!! | 50% | #1 ___\n"


def small_set() -> Judged:
    """48 documents of 24 groups; the better half explains, and a higher value explains more."""
    scores = np.arange(48) % 6
    texts = [
        "".join((EXPLAINED if j < score else LISTED).format(i, j) for j in range(6))
        for i, score in enumerate(scores)
    ]
    return Judged(
        JUDGED_SETS[0],
        pa.array(texts, pa.large_string()),
        pa.array(["web"] * 48),
        scores,
        np.array([f"site {i // 2}" for i in range(48)], object),
        scores.astype(float),
        None,
    )


def test_a_constant_lead_wins_and_the_same_lead_in_noise_ties() -> None:
    theirs = np.linspace(60, 70, 15)
    assert compare(theirs + 2 + np.tile([0.1, -0.1, 0], 5), theirs, 5).verdict == "wins"
    assert compare(theirs, theirs + 2 + np.tile([0.1, -0.1, 0], 5), 5).verdict == "loses"
    assert compare(theirs + 2 + np.tile([9, -9, 0], 5), theirs, 5).verdict == "ties"


def test_the_interval_is_the_corrected_one() -> None:
    found = compare(np.array([1.0, 2, 3, 4, 5]), np.zeros(5), 5)
    # t(0.975, 4) = 2.776; variance 2.5, once for the mean of 5 and once for the shared training
    assert found.high - found.mean == pytest.approx(2.776 * (2.5 * (1 / 5 + 1 / 4)) ** 0.5, 1e-3)


def test_folds_without_a_verdict_are_left_out() -> None:
    assert compare(np.array([3.0, 5, 9]), np.array([1.0, 3, np.nan]), 5).mean == 2
    with pytest.raises(ValueError, match="two folds"):
        compare(np.array([3.0, 5]), np.array([1.0, np.nan]), 5)


def test_a_tie_at_the_cut_is_neither_luck_nor_the_order_of_the_file() -> None:
    truth = np.array([True, True, False, False])
    assert precision_of_best(truth, np.zeros(4), 2) == 0.5
    assert precision_of_best(truth[::-1], np.array([3.0, 1, 1, 0]), 2) == 0.25
    assert precision_of_best(truth, np.array([4.0, 3, 2, 1]), 2) == 1


@pytest.mark.slow
def test_every_judge_speaks_of_every_held_out_document(tmp_path: Path) -> None:
    judged = small_set()
    train, held = split_by_group(judged.positive, judged.groups, 5, 0)[0]
    vectors = np.random.default_rng(0).normal(size=(48, 4)).astype(np.float32)
    verdicts = dict(judge(Split(judged, train, held, 0, vectors, calibrated=True), tmp_path))
    assert all(len(verdict.ranking) == len(held) for verdict in verdicts.values())
    assert {FOREST, "forest with the encoder", "ridge on the encoder", "base rate"} <= set(verdicts)
    best = verdicts[FOREST]
    assert best.probability is not None
    assert best.expected_score is not None
    assert ((best.probability >= 0) & (best.probability <= 1)).all()
    assert best.expected_score.max() > 2.5 > best.expected_score.min()
    truth = judged.positive[held]
    assert best.ranking[truth].min() > best.ranking[~truth].max()


def test_the_rows_tell_level_spread_and_who_wins() -> None:
    figures = {
        (AREA, FOREST): [80.0, 84, 82], (AREA, "length alone"): [50.0, 54, 53],
        (AREA, "fastText supervised"): [81.0, np.nan, 82], (BRIER, FOREST): [12.0, 13, 14],
    }  # fmt: skip
    rows = {row.name.partition(": ")[2]: row for row in tell(small_set(), figures)}
    assert rows[AREA].value == 82
    assert rows[AREA].peers["fastText supervised"] == 81.5
    assert rows[AREA].peers["(deviation over the folds)"] == pytest.approx(np.std([80, 84, 82]))
    assert rows[BRIER].value == 13
    lead = rows["forest over length alone"]
    assert lead.peers["from"] < lead.value < lead.peers["to"]
    assert lead.unit.endswith("wins")
    assert rows["forest over fastText supervised"].unit.endswith("ties")


@pytest.mark.slow
def test_a_set_is_measured_on_every_fold() -> None:
    figures = measure(small_set(), None, 2)
    assert {len(found) for (kind, _), found in figures.items()} == {5, 10}  # Brier: once over
    assert len(figures[AREA, FOREST]) == 10
    assert np.mean(figures[AREA, FOREST]) > np.mean(figures[AREA, "base rate"]) + 20
    assert np.mean(figures[BRIER, FOREST]) < np.mean(figures[BRIER, "base rate"])
    assert np.mean(figures[CORRELATION, FOREST]) > 60


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the judged data is not at {DATA}")
def test_every_set_has_both_classes_in_every_fold() -> None:
    for judged_set in JUDGED_SETS:
        judged = judged_set.read()
        assert len(judged.texts) > 200
        for train, held in split_by_group(judged.positive, judged.groups, 5, 0):
            assert 0 < judged.positive[held].mean() < 1
            assert not set(judged.groups[train]) & set(judged.groups[held])
