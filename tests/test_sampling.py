"""The draw of the documents to label: fair to every stratum, the same in any order, by group."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import document
from pipeline.records import DOCUMENT, write_table
from pipeline.sampling import (
    LENGTHS,
    Candidate,
    draw_sample,
    read_candidates,
    share_out,
    split_of,
)
from pipeline.splits import ValidationConfig, in_validation

HELD_OUT = ValidationConfig(share=0.2)
NONE_HELD_OUT = ValidationConfig(share=1e-9)
AVAILABLE = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 40), max_size=8)
SEEDS = st.integers(0, 2**31)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        doc_id=st.uuids().map(lambda uuid: uuid.hex[:24]),
        source=st.sampled_from(["web-a", "web/b", "code"]),
        kind=st.sampled_from(["web", "code"]),
        group=st.integers(0, 25).map("group-{}".format),
        length_bytes=st.integers(0, 2_000),
    ),
    unique_by=lambda candidate: candidate.doc_id,
    max_size=80,
)


def candidates(count, seed=0):
    generator = random.Random(seed)
    return [
        Candidate(f"{i:024x}", generator.choice("ab"), generator.choice(("web", "code")),
                  f"group-{generator.randrange(300)}", generator.randrange(5_000))
        for i in range(count)
    ]  # fmt: skip


@given(st.integers(0, 300), AVAILABLE)
def test_shares_are_whole_within_bounds_and_as_equal_as_can_be(size, available):
    given_out = share_out(size, available)
    assert given_out.keys() == available.keys()
    assert sum(given_out.values()) == min(size, sum(available.values()))
    assert all(0 <= given_out[name] <= available[name] for name in available)
    largest = max(given_out.values(), default=0)
    # who has less than another by more than the odd one has given all that it had
    assert all(given_out[n] in (available[n], largest, largest - 1) for n in available)


@given(st.integers(0, 300), AVAILABLE)
def test_a_larger_size_takes_from_no_stratum(size, available):
    smaller, larger = share_out(size, available), share_out(size + 1, available)
    assert all(smaller[name] <= larger[name] for name in available)


@given(CANDIDATES, st.integers(0, 60), SEEDS, st.randoms(use_true_random=False))
def test_the_draw_does_not_depend_on_the_order_of_reading(found, size, seed, generator):
    shuffled = generator.sample(found, len(found))
    assert draw_sample(shuffled, size, seed, HELD_OUT) == draw_sample(found, size, seed, HELD_OUT)


@given(CANDIDATES, st.integers(0, 60), SEEDS)
def test_nothing_held_out_is_drawn_and_the_strata_account_for_the_rest(found, size, seed):
    sample = draw_sample(found, size, seed, HELD_OUT)
    free = [c for c in found if not in_validation(c.group, seed, HELD_OUT)]
    assert sample.held_out == len(found) - len(free)
    assert set(sample.drawn) <= set(free)
    assert len(set(sample.drawn)) == len(sample.drawn) == min(size, len(free))
    assert [c.doc_id for c in sample.drawn] == sorted(c.doc_id for c in sample.drawn)
    assert sum(available for _, available in sample.strata.values()) == len(free)
    assert sum(drawn for drawn, _ in sample.strata.values()) == len(sample.drawn)
    by_source = Counter(f"{c.source}/{c.kind}" for c in sample.drawn)
    named = Counter()
    for name, (drawn, _) in sample.strata.items():
        place, _, length = name.rpartition("/")
        assert length in LENGTHS
        named[place] += drawn
    assert +named == by_source


@given(CANDIDATES, st.integers(0, 60), st.integers(0, 30), SEEDS)
def test_a_larger_sample_contains_the_smaller_one(found, size, more, seed):
    smaller = draw_sample(found, size, seed, HELD_OUT)
    larger = draw_sample(found, size + more, seed, HELD_OUT)
    assert set(smaller.drawn) <= set(larger.drawn)


def test_a_rare_source_and_every_length_are_learnt_too():
    common = [Candidate(f"c{i}", "common", "code", f"g{i}", i) for i in range(3_000)]
    rare = [Candidate(f"r{i}", "rare", "web", f"g{i}", i) for i in range(30)]
    strata = draw_sample(common + rare, 60, 7, NONE_HELD_OUT).strata
    assert strata == {
        f"{place}/{length}": (10, available)
        for place, available in (("common/code", 1_000), ("rare/web", 10))
        for length in LENGTHS
    }


def test_thirds_are_thirds_of_the_lengths():
    found = [Candidate(f"{i}", "s", "web", f"g{i}", i) for i in range(30)]
    available = {name: n for name, (_, n) in draw_sample(found, 5, 7, NONE_HELD_OUT).strata.items()}
    assert available == {f"s/web/{length}": 10 for length in LENGTHS}


def test_another_seed_draws_another_sample():
    one, other = (draw_sample(candidates(2_000), 100, seed, HELD_OUT) for seed in (1, 2))
    assert len(set(one.drawn) & set(other.drawn)) < 30


@given(st.text(max_size=8), SEEDS, st.floats(0.06, 0.89))
def test_a_group_is_wholly_on_one_side_and_stays_in_the_test_when_that_grows(group, seed, share):
    side = split_of(group, seed, share)
    assert side in ("train", "test")
    assert split_of(group, seed, share) == side
    assert side == "train" or split_of(group, seed, share + 0.01) == "test"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_the_test_split_has_its_share_of_groups_and_is_independent_of_validation(share):
    groups = [f"group-{i}" for i in range(5_000)]
    for some in (groups, [g for g in groups if not in_validation(g, 7, HELD_OUT)]):
        in_test = sum(split_of(group, 7, share) == "test" for group in some)
        assert in_test / len(some) == pytest.approx(share, abs=0.03)


def test_candidates_are_read_in_bytes_from_every_file(tmp_path):
    rows = [document(text, f"{i}/a.py") for i, text in enumerate(["", "x", "é", "𝄞 = 'clef'"])]
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    write_table(paths[0], rows[:3], DOCUMENT)
    write_table(paths[1], rows[3:], DOCUMENT)
    found = read_candidates(paths)
    assert [c.length_bytes for c in found] == [0, 1, 2, 13]
    assert [(c.doc_id, c.group, c.source, c.kind) for c in found] == [
        (row["doc_id"], row["group"], "test", "code") for row in rows
    ]
