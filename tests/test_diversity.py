"""Measures of diversity, by hand and beside nltk, scipy and the Vendi score's own formula."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from scipy.stats import entropy

from pipeline.diversity import MEASURES, compare_sets, measure_diversity
from pipeline.ngram_diversity import (
    compression_ratio,
    distinct_share,
    entropy_bits,
    far_compression_ratio,
    list_grams,
    number_words,
    self_bleu,
)
from pipeline.topics import find_topics, topic_coverage, topic_entropy
from pipeline.vendi import vendi_score

WORDS = [f"word{i}" for i in range(1_000)]
EQUAL = [" ".join(WORDS[:20])] * 10
DIFFERENT = [" ".join(WORDS[20 * i : 20 * i + 20]) for i in range(10)]
SUBJECTS = {
    "sea": "wave boat sail tide harbour fish anchor captain island storm",
    "cook": "flour butter oven sugar knead dough bake salt spoon recipe",
    "code": "loop list function return variable index string class import print",
}


def numbers(texts):
    return number_words(texts, {})


def prose(count, seed, subjects=tuple(SUBJECTS), words=60):
    """Texts of one subject each, which share their small words."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        subject = SUBJECTS[subjects[generator.integers(len(subjects))]].split()
        small = ["the", "a", "of", "and", "it", "is", "to", "in", "that", "with"]
        made.append(" ".join(generator.choice(subject * 6 + small + WORDS[:200], words)))
    return made


@pytest.mark.parametrize(
    ("texts", "n", "share"),
    [
        (["a b c d"], 1, 1.0),
        (["a b a b"], 1, 0.5),
        (["a b a b"], 2, 2 / 3),  # a b, b a, a b
        (["a b c", "a b c"], 3, 0.5),
        (["a b", "c d"], 3, None),  # too short for any
        (["a", "b a"], 2, 1.0),  # no n-gram goes from one text into the next
        ([], 1, None),
        (EQUAL, 2, 0.1),
        (DIFFERENT, 2, 1.0),
    ],
)
def test_distinct_n_is_the_share_of_n_grams_that_are_new(texts, n, share):
    found = distinct_share(list_grams(numbers(texts), 3)[n - 1][0])
    assert found == (share if share is None else pytest.approx(share))


@given(st.lists(st.text("abc ", max_size=12), max_size=8), st.integers(1, 3))
def test_grams_are_those_that_tuples_give(texts, n):
    grams, owner = list_grams(numbers(texts), 3)[n - 1]
    by_hand = [
        (gram, i)
        for i, text in enumerate(texts)
        for gram in zip(*(text.split()[k:] for k in range(n)), strict=False)
    ]
    assert owner.tolist() == [i for _, i in by_hand]
    same = {number: gram for number, (gram, _) in zip(grams.tolist(), by_hand, strict=True)}
    assert len(same) == len({gram for gram, _ in by_hand})
    assert all(same[k] == gram for k, (gram, _) in zip(grams.tolist(), by_hand, strict=True))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_entropy_is_scipys(grams):
    counts = np.bincount(grams)
    assert entropy_bits(np.array(grams)) == pytest.approx(entropy(counts[counts > 0], base=2))


def test_entropy_of_nothing_is_undefined_and_of_equals_zero():
    assert entropy_bits(np.zeros(0, np.int64)) is None
    assert math.copysign(1, entropy_bits(np.zeros(5, np.int64))) == 1


@given(st.lists(st.text("ab ", min_size=4, max_size=40), min_size=2, max_size=9))
def test_self_bleu_is_nltks(texts):
    split = [text.split() for text in texts if len(text.split()) >= 4]
    found = self_bleu(numbers(texts))
    if len(split) < 2:
        assert found is None
        return
    scores = [
        sentence_bleu(split[:i] + split[i + 1 :], one, smoothing_function=SMOOTH.method2)
        for i, one in enumerate(split)
    ]
    assert found == pytest.approx(np.mean(scores))


SMOOTH = SmoothingFunction()


def test_self_bleu_of_prose_is_nltks_and_one_for_copies():
    texts = prose(40, 1)
    split = [text.split() for text in texts]
    scores = [
        sentence_bleu(split[:i] + split[i + 1 :], one, smoothing_function=SMOOTH.method2)
        for i, one in enumerate(split)
    ]
    assert 0.001 < self_bleu(numbers(texts)) == pytest.approx(np.mean(scores))
    assert self_bleu(numbers(EQUAL)) == pytest.approx(1)
    assert self_bleu(numbers(DIFFERENT)) == 0  # not a word in common
    assert self_bleu(numbers(EQUAL[:1])) is None


def test_compression_is_raw_over_compressed_bytes_and_zstd_looks_further():
    raw = "\n".join(EQUAL).encode()
    assert compression_ratio(raw) == len(raw) / len(zlib.compress(raw, 9))
    assert compression_ratio(b"") is None
    assert far_compression_ratio(b"") is None
    noise = bytes(np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8))
    assert compression_ratio(noise * 2) < 1.01  # the copy is farther back than 32 KiB
    assert far_compression_ratio(noise * 2) > 1.9


@pytest.mark.parametrize(
    ("vectors", "score"),
    [(np.eye(6), 6), (np.tile(np.eye(6)[0], (9, 1)), 1), (np.repeat(np.eye(4), 5, axis=0), 4)],
)
def test_the_vendi_score_counts_what_differs(vectors, score):
    assert vendi_score(vectors.astype(np.float32)) == pytest.approx(score)


def test_the_vendi_score_is_that_of_the_whole_similarity_matrix():
    vectors = np.random.default_rng(2).normal(size=(50, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(vectors @ vectors.T / 50)  # Friedman and Dieng, definition 3.1
    shares = shares[shares > 1e-12]
    by_formula = math.exp(-(shares * np.log(shares)).sum())
    assert vendi_score(vectors.astype(np.float32)) == pytest.approx(by_formula, rel=1e-5)
    assert vendi_score(np.zeros((3, 8), np.float32)) is None


def test_topics_part_the_subjects_and_bear_their_words():
    texts = [
        " ".join(np.random.default_rng(i).choice(SUBJECTS[s].split(), 12))
        for i, s in enumerate(list(SUBJECTS) * 8)
    ]
    vectors = np.tile(np.eye(3, dtype=np.float32), (8, 1))
    topics = find_topics(vectors, texts, seed=7)
    assert len(topics.names) == 3
    labels = topics.of(vectors)
    for place, subject in enumerate(SUBJECTS):
        assert len(set(labels[place::3])) == 1
        assert set(topics.names[labels[place]].split(", ")) <= set(SUBJECTS[subject].split())
    assert find_topics(vectors[:15], texts[:15], seed=7) is None
    assert find_topics(np.ones((40, 3), np.float32), [""] * 40, seed=7) is None


def test_topic_entropy_and_coverage_by_hand():
    labels = np.array([0, 0, 1, 1])
    assert topic_entropy(labels, 4) == pytest.approx(0.5)
    assert topic_entropy(np.arange(4), 4) == pytest.approx(1)
    assert topic_entropy(np.zeros(4, np.int64), 4) == 0
    assert topic_coverage(labels, 4) == 0.5
    assert topic_entropy(np.zeros(0, np.int64), 4) is topic_coverage(np.zeros(0), 0) is None


@pytest.mark.parametrize(
    ("texts", "share"),
    [(EQUAL, 0.9), (DIFFERENT, 0), (EQUAL[:3] + DIFFERENT[1:4], 2 / 6), ([], None)],
)
def test_near_duplicates_are_counted_from_the_second_on(texts, share):
    found = measure_diversity(texts, seed=7)["near_duplicate_share"]["0.7"]
    assert found == (share if share is None else pytest.approx(share, abs=1e-6))


def test_a_whole_set_is_measured_without_regard_to_case():
    told = measure_diversity(["One two three four.", "ONE, two; THREE four!"], seed=7)
    assert (told["pieces"], told["words"]) == (2, 8)
    assert (told["distinct_1"], told["distinct_2"], told["distinct_3"]) == (0.5, 0.5, 0.5)
    assert told["self_bleu_4"] == pytest.approx(1)
    assert told["near_duplicate_share"] == {"0.5": 0.5, "0.7": 0.5, "0.8": 0.5}


@pytest.fixture(scope="module")
def compared():
    wide, narrow = prose(400, 1), prose(60, 2, ("cook",))
    return compare_sets(
        {"accepted": prose(120, 3), "raw": narrow * 2, "human_reference": wide}, seed=7
    )


def test_each_measure_tells_a_narrow_repeating_set_from_a_wide_one(compared):
    sets = {name: one["at_equal_size"] for name, one in compared["sets"].items()}
    assert set(sets["raw"]) == set(MEASURES)
    for measure, way in MEASURES.items():
        narrow, wide = sets["raw"][measure]["mean"], sets["human_reference"][measure]["mean"]
        if measure == "compression_ratio":
            continue  # copies lie farther apart than deflate looks back
        assert (narrow < wide) == (way == "more diverse"), measure
    # a third of the subjects, and so about a third of the topics
    assert sets["raw"]["topic_coverage"]["most"] < 0.6 * sets["accepted"]["topic_coverage"]["least"]


def test_sets_of_one_kind_are_alike_at_equal_size_whatever_their_sizes(compared):
    small, large = (compared["sets"][name] for name in ("accepted", "human_reference"))
    assert small["distinct_1"] > 1.5 * large["distinct_1"]  # whole: only the size differs
    for measure in ("distinct_1", "distinct_2", "entropy_1_bits", "self_bleu_4", "vendi_score"):
        one, other = small["at_equal_size"][measure], large["at_equal_size"][measure]
        assert one["mean"] == pytest.approx(other["mean"], rel=0.1), measure


def test_a_draw_takes_half_the_smallest_set(compared):
    assert compared["sample"] == {
        "draws": 10, "words": 3_600, "pieces": 60, "words_a_piece": 60,
        "bytes": compared["sample"]["bytes"],
    }  # fmt: skip
    assert compared["vectors"] == "word embedding trained on half of human_reference"
    for one in compared["sets"].values():
        assert sum(one["topics"]) == pytest.approx(1, abs=1e-4)
        assert sum(one["nearest"]) == one["pieces"] - 1
        for spread in one["at_equal_size"].values():
            assert spread["least"] <= spread["mean"] + 1e-6 <= spread["most"] + 2e-6


def test_an_encoder_that_is_given_is_the_one_that_is_used():
    class ByFirstLetter:
        def transform(self, texts):
            return np.eye(26, dtype=np.float32)[[ord(t[0]) - 97 for t in texts.to_pylist()]]

    texts = [letter + " word" * 5 for letter in "abcdefgh"] * 4
    found = compare_sets({"raw": texts, "accepted": texts[:16]}, 7, ByFirstLetter())
    assert found["vectors"] == "the encoder that was given"
    assert found["reference"] == "raw"
    assert 3 < found["sets"]["raw"]["at_equal_size"]["vendi_score"]["mean"] <= 8


def test_of_nothing_nothing_is_said():
    for sets in ({"accepted": []}, {"accepted": [], "human_reference": [""]}):
        found = compare_sets(sets, seed=7)["sets"]["accepted"]
        assert (found["pieces"], found["words"], found["distinct_1"]) == (0, 0, None)
        assert set(found["at_equal_size"].values()) == {None}
        assert set(found["near_duplicate_share"].values()) == {None}
