import random

import numpy as np

from pipeline.near_copies import MINIMA, NearCopies, signature, similarity

WORDS = [f"word{i}" for i in range(5000)]


def text(seed: int, n: int = 400) -> list[str]:
    return random.Random(seed).choices(WORDS, k=n)


def changed(words: list[str], share: float) -> str:
    generator = random.Random(1)
    return " ".join(w if generator.random() > share else "changed" for w in words)


def test_a_signature_is_the_same_in_every_process_and_case():
    sketch = signature("One two three four five six")
    assert sketch.shape == (MINIMA,)
    assert sketch.dtype == np.uint32
    assert similarity(sketch, signature("one  two, THREE four five six")) == 1


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
