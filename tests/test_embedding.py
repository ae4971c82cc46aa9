"""The word embedding: it finds topics, the compiled pooling agrees with the algebra, and it is
the same every time."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.embedding import WordEmbedding

SEA = ["the ship sails the sea", "the sea and waves and ship", "waves carry the ship to sea"]
CODE = ["def run(): return sys", "import sys and return run", "def sys(): import run"]
TEXTS = pa.array((SEA + CODE) * 3)


def test_documents_of_one_topic_lie_together():
    x = WordEmbedding(dimensions=2, buckets=4_096).fit(TEXTS).transform(pa.array(SEA + CODE))
    near = x @ x.T / np.outer(*[np.linalg.norm(x, axis=1)] * 2)
    same = near[:3, :3][np.triu_indices(3, 1)]
    assert same.min() > near[:3, 3:].max()


@given(st.lists(st.text(max_size=80), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_pooling_is_the_bag_times_the_table(texts):
    array = pa.array(texts)
    model = WordEmbedding(dimensions=4, buckets=256).fit(array)
    expected = model.bags(array) @ model.table_
    assert np.allclose(model.transform(array), expected, atol=1e-5)
    lengths = np.sqrt(model.bags(array).multiply(model.bags(array)).sum(axis=1))
    assert np.all(np.isclose(lengths, 1, atol=1e-5) | (lengths == 0))


def published_hash(word: str) -> int:
    """What recipe.json calls the hash of a word, without the tricks of the compiled loop."""
    small = bytes(byte | 32 for byte in word.encode())
    hashed = 0
    for at in range(0, len(small), 8):
        folded = (hashed >> 32) ^ hashed ^ int.from_bytes(small[at : at + 8], "little")
        hashed = folded * 0x9E3779B97F4A7C15 % (1 << 64)
    return hashed >> 32


@given(st.text(alphabet="abcXYZ019_é", min_size=1, max_size=40))
@settings(deadline=None)
def test_words_are_found_by_their_published_hash(word):
    model = WordEmbedding(dimensions=2, buckets=500).fit(pa.array([f"{word} beta", word]))
    bag = model.bags(pa.array([f"({word.upper() if word.isascii() else word},{word}!)"]))
    assert np.flatnonzero(bag.toarray()[0]).tolist() == [published_hash(word) * 500 >> 32]


def test_words_that_were_never_seen_say_nothing():
    model = WordEmbedding(dimensions=2, buckets=1 << 14).fit(pa.array(["alpha beta", "beta"]))
    assert np.array_equal(model.transform(pa.array(["gamma delta"])), np.zeros((1, 2)))


def test_training_twice_gives_the_same_bits():
    one, other = (WordEmbedding(dimensions=5, seed=3).fit(TEXTS).table_ for _ in range(2))
    assert np.array_equal(one, other)


def test_slices_and_empty_texts():
    model = WordEmbedding(dimensions=3, buckets=512).fit(TEXTS)
    whole = model.transform(TEXTS)
    assert np.array_equal(model.transform(TEXTS[4:9]), whole[4:9])
    assert np.array_equal(model.transform(pa.array([""])), np.zeros((1, 3)))
    assert model.transform(pa.array([], pa.string())).shape == (0, 3)
    assert len(model.get_feature_names_out()) == 3
