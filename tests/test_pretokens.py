"""Pre-tokens are those of GPT-2's pattern, or a few less."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pretokens import count_pretokens

PATTERN = re.compile(  # GPT-2's without its contractions; all beyond ASCII counts as letters
    r" ?[A-Za-z\x80-\U0010ffff]+| ?[0-9]+| ?[^\sA-Za-z0-9\x80-\U0010ffff]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("word", 1), ("two words", 2), ("x = 12\n", 4), ("a  b", 3), ("Grüße, 面積!", 4)],
)
def test_of_small_texts(text, count):
    assert count_pretokens(pa.array([text])).tolist() == [count]


@given(st.lists(st.text(st.sampled_from("ab Z09.,-_\n\té面"), max_size=40), max_size=5))
def test_never_more_than_the_pattern_and_at_least_its_words(texts):
    counts = count_pretokens(pa.array(texts, pa.string())).tolist()
    for text, count in zip(texts, counts, strict=True):
        found = PATTERN.findall(text)
        assert sum(not piece.isspace() for piece in found) <= count <= len(found)


def test_nulls_and_slices():
    array = pa.array(["one two", None, "three"])
    assert count_pretokens(array).tolist() == [2, 0, 1]
    assert count_pretokens(array.slice(2)).tolist() == [1]
