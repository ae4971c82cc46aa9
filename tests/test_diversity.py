"""Measures of diversity on texts whose figures can be worked out by hand."""

import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.diversity import (
    compression_ratio,
    distinct_n,
    measure_diversity,
    near_duplicate_share,
    self_bleu,
)

WORDS = [f"word{i}" for i in range(1_000)]
EQUAL = [" ".join(WORDS[:20])] * 10
DIFFERENT = [" ".join(WORDS[20 * i : 20 * i + 20]) for i in range(10)]


def split(texts):
    return [text.split() for text in texts]


@pytest.mark.parametrize(
    ("words", "n", "share"),
    [
        (["a b c d"], 1, 1.0),
        (["a b a b"], 1, 0.5),
        (["a b a b"], 2, 2 / 3),  # a b, b a, a b
        (["a b c", "a b c"], 3, 0.5),
        (["a b", "c d"], 3, None),  # too short for any
        ([], 1, None),
        (EQUAL, 2, 0.1),
        (DIFFERENT, 2, 1.0),
    ],
)
def test_distinct_n_is_the_share_of_n_grams_that_are_new(words, n, share):
    assert distinct_n(split(words), n) == (share if share is None else pytest.approx(share))


def test_self_bleu_is_one_for_copies_and_only_its_smoothing_for_strangers():
    assert self_bleu(split(EQUAL), seed=7) == pytest.approx(1)
    strangers = math.prod(1 / (20 - n + 2) for n in range(1, 5)) ** (1 / 4)
    assert self_bleu(split(DIFFERENT), seed=7) == pytest.approx(strangers)


def test_self_bleu_of_two_halves_that_agree_is_worked_out_by_hand():
    texts = split(["a b c d e f", "a b c d x y"])
    # of 6, 5, 4 and 3 n-grams the other text has 4, 3, 2 and 1; each count is raised by one
    by_hand = (5 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** (1 / 4)
    assert self_bleu(texts, seed=7) == pytest.approx(by_hand)


def test_self_bleu_counts_a_repeated_gram_no_more_often_than_the_other_has_it():
    # one `a` of four is matched in the first, and the one `a` in the second: twice 2 / 5
    by_hand = (2 / 5 * 1 / 4 * 1 / 3 * 1 / 2) ** (1 / 4)
    assert self_bleu(split(["a a a a", "a b c d"]), seed=7) == pytest.approx(by_hand)


def test_self_bleu_needs_two_texts_and_samples_many():
    assert self_bleu(split(EQUAL[:1]), seed=7) is None
    assert self_bleu([["a", "b"], ["c"]], seed=7) is None  # no 4-gram in either
    many = split(DIFFERENT * 20)
    assert self_bleu(many, seed=7) == self_bleu(many, seed=7)
    assert self_bleu(many, seed=7) == pytest.approx(1)  # each has its copy in the sample


def test_the_compression_ratio_is_raw_over_deflated_bytes():
    raw = "\n".join(EQUAL).encode()
    assert compression_ratio(EQUAL) == len(raw) / len(zlib.compress(raw, 9))
    assert compression_ratio(EQUAL) > 3 * compression_ratio(DIFFERENT) > 3
    assert compression_ratio([]) is None


@pytest.mark.parametrize(
    ("texts", "share"),
    [(EQUAL, 0.9), (DIFFERENT, 0), (EQUAL[:3] + DIFFERENT[1:4], 2 / 6), ([], None)],
)
def test_near_duplicates_are_counted_from_the_second_on(texts, share):
    assert near_duplicate_share(texts, 0.7) == (share if share is None else pytest.approx(share))


def test_all_measures_stand_in_one_record_without_regard_to_case():
    told = measure_diversity(["One two three four.", "ONE, two; THREE four!"], seed=7)
    assert told["pieces"] == 2
    assert told["words"] == 8
    assert (told["distinct_1"], told["distinct_2"], told["distinct_3"]) == (0.5, 0.5, 0.5)
    assert told["self_bleu_4"] == pytest.approx(1)
    assert told["near_duplicate_share"] == {"0.5": 0.5, "0.7": 0.5, "0.8": 0.5}


def test_of_nothing_nothing_is_said():
    told = measure_diversity([], seed=7)
    assert told.pop("near_duplicate_share") == dict.fromkeys(("0.5", "0.7", "0.8"))
    assert {name: value for name, value in told.items() if value is not None} == {
        "pieces": 0, "words": 0,
    }  # fmt: skip


@given(st.lists(st.text("ab ", min_size=1), min_size=1, max_size=8), st.integers(1, 3))
def test_a_copy_of_all_texts_never_makes_them_more_diverse(texts, n):
    once, twice = distinct_n(split(texts), n), distinct_n(split(texts * 2), n)
    assert (once is None and twice is None) or twice == pytest.approx(once / 2)
