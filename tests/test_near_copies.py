"""Near copies: estimates, an index that misses none over its limit, its memory and its order."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.near_copies import (
    BANDS,
    MINIMA,
    NearCopies,
    missed_share,
    nearest_earlier,
    signature,
    signatures,
    similarity,
)

WORDS = [f"word{i}" for i in range(5000)]


def text(seed: int, n: int = 400) -> list[str]:
    return random.Random(seed).choices(WORDS, k=n)


def changed(words: list[str], share: float) -> str:
    generator = random.Random(1)
    return " ".join(w if generator.random() > share else "changed" for w in words)


def sketch_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, MINIMA, dtype=np.uint32)


def with_unequal(sketch: np.ndarray, unequal: int, seed: int) -> np.ndarray:
    """A signature that differs from another in so many minima, in random places."""
    places = np.random.default_rng(seed).permutation(MINIMA)[:unequal]
    other = sketch.copy()
    other[places] ^= np.uint32(1)
    return other


def test_a_signature_is_the_same_in_every_process_and_case():
    sketch = signature("One two three four five six")
    assert sketch.shape == (MINIMA,)
    assert sketch.dtype == np.uint32
    assert similarity(sketch, signature("one  two, THREE four five six")) == 1
    assert sketch[:2].tolist() == [3614405370, 3550272288]  # leave it: runs are comparable by it


@pytest.mark.parametrize("few", ["", "one", "one two three four", "one two three four five"])
def test_a_text_of_five_words_or_fewer_is_one_shingle(few):
    from rensa import RMinHash

    sketch = RMinHash(num_perm=MINIMA, seed=1_997)
    sketch.update([few])
    assert signature(few).tolist() == list(sketch.digest())


def test_the_estimate_is_near_the_true_jaccard():
    words = text(1)
    for share in (0.01, 0.03, 0.08):
        other = changed(words, share)
        grams = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (words, other.split())]
        true = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
        estimate = similarity(signature(" ".join(words)), signature(other))
        assert abs(estimate - true) < 4 * 0.044  # four standard errors at 128 minima


def test_near_copies_are_found_and_others_are_not():
    index = NearCopies(max_similarity=0.7)
    for i in range(300):
        index.add(f"text-{i}", signature(" ".join(text(i))))
    found = [index.twin_of(signature(changed(text(i), 0.02))) for i in range(300)]
    assert [twin[0] for twin in found if twin] == [f"text-{i}" for i in range(300)]
    assert all(index.twin_of(signature(" ".join(text(10_000 + i)))) is None for i in range(300))


def test_a_text_below_the_limit_passes():
    index = NearCopies(max_similarity=0.9)
    index.add("first", signature(" ".join(text(1))))
    assert index.twin_of(signature(changed(text(1), 0.05))) is None


@pytest.mark.parametrize("limit", [0.5, 0.7, 0.75, 0.8])
def test_the_limit_itself_passes_and_one_more_equal_minimum_does_not(limit):
    index, sketch = NearCopies(limit), sketch_of(0)
    index.add("first", sketch)
    above = int(limit * MINIMA) + 1
    # the last minima differ, so that the first bands are whole whatever the limit
    at, over = sketch.copy(), sketch.copy()
    at[above - 1 :] ^= np.uint32(1)
    over[above:] ^= np.uint32(1)
    assert index.twin_of(at) is None
    assert index.twin_of(over) == ("first", above / MINIMA)


def test_no_pair_over_the_limit_is_missed():
    index = NearCopies(0.7)
    for i in range(5_000):
        index.add(str(i), sketch_of(i))
    for i in range(5_000):  # 90 of 128 are equal, the fewest over 0.7: the hardest there are
        assert index.twin_of(with_unequal(sketch_of(i), 38, i)) == (str(i), 90 / 128)


def test_the_share_that_is_missed_is_what_drawing_pairs_finds():
    assert missed_share(90) < 1e-6  # over 0.7; the target is one in a thousand
    assert missed_share(96) < 1e-10
    assert missed_share(97) == 0  # 31 unequal minima cannot spoil 32 bands
    generator, misses = np.random.default_rng(3), 0
    for _ in range(4_000):
        equal = np.zeros(MINIMA, bool)
        equal[generator.permutation(MINIMA)[:65]] = True
        misses += not equal.reshape(BANDS, -1).all(axis=1).any()
    assert missed_share(65) == pytest.approx(0.0856, abs=1e-4)
    assert abs(misses / 4_000 - missed_share(65)) < 4 * 0.0044  # four standard errors


def test_a_pair_of_true_similarity_at_the_limit_shares_a_band():
    # what the bands promise for a pair before its estimate is known
    assert 1 - (1 - 0.7**4) ** BANDS > 0.999


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=60))
def test_the_twin_is_the_first_of_the_most_similar_texts(made):
    index, known = NearCopies(0.7), []
    for number, (seed, unequal) in enumerate(made):
        sketch = with_unequal(sketch_of(seed), unequal, number)
        equals = [int((sketch == one).sum()) for one in known]
        best = max(equals, default=0)
        found = index.twin_of(sketch)
        if found is not None:
            assert best > 0.7 * MINIMA
            assert found == (str(equals.index(best)), best / MINIMA)
        elif best > 0.7 * MINIMA:
            assert missed_share(best) > 0  # possible, and never seen
            pytest.fail(f"a pair with {best} equal minima was missed")
        index.add(str(number), sketch)
        known.append(sketch)


def test_what_is_found_stays_the_same_while_the_index_grows():
    sketches = [with_unequal(sketch_of(i % 900), 20, i) for i in range(3_000)]
    index, found = NearCopies(0.6), []
    for i, sketch in enumerate(sketches):
        found.append(index.twin_of(sketch))
        index.add(str(i), sketch)
    assert len(index) == 3_000
    again = NearCopies(0.6)
    for i, sketch in enumerate(sketches):  # asked many times on the way: that changes nothing
        again.twin_of(sketches[i // 2])
        assert again.twin_of(sketch) == found[i]
        again.add(str(i), sketch)
    assert sum(twin is not None for twin in found) > 2_000


def test_a_text_takes_less_than_a_kibibyte():
    index = NearCopies()
    made = np.random.default_rng(0).integers(0, 2**32, (20_000, MINIMA), dtype=np.uint32)
    worst = 0.0
    for i, sketch in enumerate(made):
        index.add(f"{i:016x}", sketch)
        if i > 2_000:
            worst = max(worst, index.memory_bytes / len(index)) if i % 97 == 0 else worst
    assert 600 < worst < 1_024


def test_every_pair_is_compared_for_the_report():
    texts = [" ".join(text(i)) for i in range(30)]
    texts += [changed(text(0), 0.02), changed(text(1), 0.12)]
    sketches = signatures(texts)
    found = nearest_earlier(sketches)
    by_hand = [
        max((similarity(sketches[i], sketches[j]) for j in range(i)), default=0.0)
        for i in range(len(texts))
    ]
    assert found.tolist() == by_hand
    assert found[30] > 0.7 > found[31] > 0.2 > max(found[:30])


def test_of_no_texts_there_are_no_signatures():
    assert signatures([]).shape == (0, MINIMA)
    assert nearest_earlier(signatures([])).tolist() == []
