"""The split: no group on both sides, no near copy, and what is left is stated truly."""

import numpy as np
import pytest
from filter_material import corpus

from pipeline.errors import StageError
from pipeline.leakage import MAX_SIMILARITY, part_fairly
from pipeline.near_copies import signature, similarity


def parted(count=80):
    rows = [row for row, _ in corpus()][:count]
    groups = sorted({row["group"] for row in rows})
    test = [row for row in rows if row["group"] in groups[::3]]
    return test, [row for row in rows if row["group"] not in groups[::3]]


def test_the_nearest_are_those_that_comparing_all_pairs_finds():
    test, train = parted()
    fair, found = part_fairly("s", test, train)
    known = [signature(row["text"]) for row in train]
    nearest = [max(similarity(signature(row["text"]), s) for s in known) for row in fair]
    assert found.nearest.tolist() == nearest
    told = found.describe()
    assert told["greatest_similarity_left"] == max(nearest) <= MAX_SIMILARITY
    assert sum(told["nearest_histogram"]) == len(fair)
    pair = [next(r for r in (*test, *train) if r["doc_id"] == p["doc_id"])
            for p in told["closest_pair"]]  # fmt: skip
    assert similarity(*(signature(row["text"]) for row in pair)) == max(nearest)
    assert pair[0] in fair
    assert pair[1] in train


def test_a_near_copy_in_another_group_is_left_out_and_counted():
    test, train = parted()
    longest = max(train, key=lambda row: len(row["text"]))
    copy = {**longest, "group": "vendored", "doc_id": "c" * 24,
            "text": longest["text"] + "\n# vendored\n"}  # fmt: skip
    fair, found = part_fairly("s", [copy, *test], train)
    without, before = part_fairly("s", test, train)
    assert fair == without
    assert found.near_copies_left_out == before.near_copies_left_out + 1


def test_a_group_on_both_sides_is_refused_by_name():
    test, train = parted()
    with pytest.raises(StageError, match=rf"1 groups .* both splits, .*{train[0]['group']}"):
        part_fairly("s", [*test, train[0]], train)


def test_without_test_documents_there_is_nothing_to_compare():
    fair, found = part_fairly("s", [], parted()[1])
    assert fair == []
    assert found.describe()["closest_pair"] == []
    assert np.array_equal(found.nearest, [])
