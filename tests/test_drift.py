"""Drift: distances against hand values and scipy, verdicts, and counts that add up."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, kstwobign

from classifiers.drift import Bins, Reference, expected_psi, ks_critical, ks_distance, psi
from classifiers.drift_verdict import Limits, judge_drift
from pipeline.document_batch import Batch
from pipeline.drift_count import MOST_STRATA, DriftCount, add_saved
from pipeline.drift_reference import count_reference

VALUE = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-9, 9, width=32)


def one_column(values):
    return np.array(values, np.float32)[:, np.newaxis]


def counts(*of_bins):
    return np.array([of_bins], np.int64)


def test_psi_of_large_samples_is_that_of_the_formula():
    p, q = counts(500_000, 300_000, 200_000), counts(200_000, 300_000, 500_000)
    assert psi(p, q)[0] == pytest.approx(0.6 * np.log(2.5), rel=1e-4)
    assert psi(p, p)[0] == 0
    assert psi(counts(0, 10), counts(0, 10))[0] == 0
    assert 1 < psi(counts(100, 0), counts(0, 100))[0] < 20  # and not infinite


def test_two_samples_of_one_population_have_the_psi_that_is_expected():
    rng, found = np.random.default_rng(0), []
    bins = Bins.of(["x"], one_column(rng.normal(size=50_000)))
    for _ in range(400):
        p, q = (bins.count(one_column(rng.normal(size=n))) for n in (300, 700))
        found.append(psi(p, q)[0])
    assert np.mean(found) == pytest.approx(expected_psi(p, q)[0], rel=0.1)
    assert expected_psi(p, q)[0] == pytest.approx(9 * (1 / 300 + 1 / 700))


@settings(deadline=None)
@given(st.lists(VALUE, min_size=4), st.lists(VALUE, min_size=4))
def test_the_distance_at_the_bins_ends_is_never_more_than_the_true_one(before, after):
    bins = Bins.of(["x"], one_column(before))
    found = ks_distance(*(bins.count(one_column(values)) for values in (before, after)))[0]
    exact = ks_2samp(np.float32(before), np.float32(after), method="asymp").statistic
    assert 0 <= found <= exact + 1e-12


def test_where_every_value_is_a_bin_the_distance_is_the_true_one():
    rng = np.random.default_rng(1)
    before, after = rng.integers(0, 4, 400), rng.integers(0, 5, 300)
    bins = Bins.of(["x"], one_column(before))
    found = ks_distance(*(bins.count(one_column(values)) for values in (before, after)))[0]
    assert found == pytest.approx(ks_2samp(before, after).statistic)


@pytest.mark.parametrize("level", [0.05, 1e-3, 1e-6])
def test_the_critical_distance_is_smirnov_s(level):
    assert ks_critical(200, 300, level) == pytest.approx(
        kstwobign.isf(level) * np.sqrt(500 / 60_000), rel=1e-3
    )


@settings(deadline=None)
@given(st.lists(VALUE, min_size=1))
def test_every_document_is_in_one_bin_and_what_many_have_in_its_own(values):
    column = one_column(values)
    bins = Bins.of(["x"], column)
    counted = bins.count(column)[0]
    assert counted.sum() == len(values)
    begins = bins.begins[0]
    for value, times in zip(*np.unique(column, return_counts=True), strict=True):
        if times * 10 > len(values):
            place = np.searchsorted(begins, value, "right")
            assert counted[place] == times
            assert begins[place - 1] == value


def test_a_column_that_was_always_the_same_can_drift():
    bins = Bins.of(["x", "y"], np.column_stack([np.zeros(200), np.arange(200)]).astype(np.float32))
    now = np.column_stack([np.ones(200), np.arange(200)]).astype(np.float32)
    reference = Reference(bins, {"a/web": bins.count(0 * now + [0, 1] * now)})
    stratum = next(s for s in judge_drift(reference, {"a/web": bins.count(now)}, Limits())
                   if s.name == "a/web")  # fmt: skip
    assert [(c.name, c.verdict) for c in stratum.columns] == [("x", "drifted"), ("y", "stable")]
    assert stratum.verdict == "notable"  # one column alone makes no drift


def test_few_documents_are_not_judged_and_unknown_sources_are_new():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(1_000, 4)).astype(np.float32)
    reference = count_reference(["x", "y"], values, ["a/web"] * 950 + ["b/web"] * 50)
    some = reference.bins.count(values[:300])
    seen = {"a/web": some, "b/web": some, "c/web": some, "d/web": reference.bins.count(values[:9])}
    told = {s.name: s.verdict for s in judge_drift(reference, seen, Limits())}
    assert told == {"all": "stable", "a/web": "stable", "b/web": "not judged", "c/web": "new",
                    "d/web": "not judged"}  # fmt: skip
    found = judge_drift(reference, {"web": some, "code": some}, Limits())
    told = {s.name: s.verdict for s in found}
    assert (told["web"], told["code"]) == ("stable", "new")


def batch_of(rows, source=True):
    table = pa.table({
        "source": [f"s{i % 40}" if source else None for i in rows],
        "url": [f"u{i}" for i in rows],
    }).to_batches()  # fmt: skip
    ids, kinds = pa.array([str(i) for i in rows]), pa.array(["web"] * len(rows))
    return Batch(table[0], pa.array([""] * len(rows)), kinds, ids)


def counted(reference, rows, cuts, every=3, kept=5):
    count, values = DriftCount(reference, "a", every, kept), np.arange(2_000, dtype=np.float32)
    for part in np.split(np.arange(rows), sorted(cuts)):
        if len(part):
            features = values[part][:, np.newaxis]
            count.add(batch_of(part.tolist()), features, values[part] / 2_000, values[part] / 400)
    count.flush()
    return count


@pytest.fixture(scope="module")
def plain_reference():
    values = np.arange(2_000, dtype=np.float32)
    columns = np.column_stack([values, values / 2_000, values / 400])
    return count_reference(["x"], columns, ["s0/web"] * 2_000)


@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, 1_999), max_size=6))
def test_what_is_counted_does_not_depend_on_the_batches(plain_reference, cuts):
    once, again = counted(plain_reference, 2_000, ()), counted(plain_reference, 2_000, cuts)
    assert again.first == once.first
    assert again.histograms.keys() == once.histograms.keys()
    for name, histogram in once.histograms.items():
        assert (again.histograms[name] == histogram).all()
    total = sum(int(h[0].sum()) for h in once.histograms.values())
    assert 550 < total < 780  # about one in three
    assert len(once.histograms) == MOST_STRATA + 1  # further sources count as their kind


def test_counts_of_files_add_up_to_counts_of_the_whole(plain_reference, tmp_path):
    parts = []
    for name, rows in (("a", 900), ("b", 700), ("c", 1)):
        count = DriftCount(plain_reference, name, 2, 5)
        values = np.arange(rows, dtype=np.float32)
        count.add(batch_of(range(rows), source=False), values[:, np.newaxis], values, values)
        count.save(tmp_path / f"{name}.json")
        parts.append(count)
    saved = [json.loads((tmp_path / f"{name}.json").read_text()) for name in "abc"]
    whole = add_saved(plain_reference, saved, 2, 5)
    summed = sum(part.histograms.get("web", 0) for part in parts)
    assert (whole.histograms["web"] == summed).all()
    everyone = [row for part in parts for row in part.first.get("web", [])]
    assert whole.first["web"] == sorted(everyone, key=lambda row: row["rank"])[:5]
