"""The structural numbers, against counts made the slow way, and against hostile documents."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.arrow_text import text_buffers
from classifiers.structure import SHARES, Structure
from classifiers.tally import Tally, count

CODE = '''"""Adds numbers."""
import math

# A comment.
@cache
def add(a, b):
    """Return the sum."""
    return a + b  # easy


class Adder:
    def run(self):
        self.total = add(1, 2)
        self.total = add(1, 2)
'''
PROSE = """Title
=====

This is a sentence about the sea. Is it one? See https://example.org and [this](that).

- one item
- another item
"""


def tally(text: str) -> dict[str, int]:
    data, offsets = text_buffers(pa.array([text]))
    tallies = np.zeros((1, len(Tally)), np.int64)
    count(data, offsets, tallies)
    return {column.name: int(tallies[0, column]) for column in Tally}


def row(text: str) -> dict[str, float]:
    return dict(zip(SHARES, Structure().transform(pa.array([text]))[0].tolist(), strict=True))


def test_code_is_counted_as_a_reader_would():
    t = tally(CODE)
    assert t["LINES"] == 14
    assert (t["DEF"], t["CLASS"], t["IMPORT"], t["RETURN"], t["SELF"]) == (2, 1, 1, 1, 2)
    assert (t["COMMENT"], t["DECORATOR"], t["SIDE_COMMENTS"]) == (1, 1, 1)
    assert (t["QUOTED_BLOCKS"], t["REPEATED"], t["BLANK"]) == (2, 1, 3)
    assert t["QUOTED_BYTES"] == len('"""Adds numbers.') + len('"""Return the sum.')


def test_prose_is_counted_as_a_reader_would():
    t = tally(PROSE)
    assert (t["LINKS"], t["MARKDOWN_LINKS"], t["LISTED"], t["RULED"]) == (1, 1, 2, 1)
    assert t["SENTENCES"] == 3
    assert t["FUNCTION_WORDS"] >= 5
    assert t["LINES"] == 7


@given(st.text(max_size=400))
@settings(deadline=None)
def test_bytes_lines_and_words_agree_with_python(text):
    t = tally(text)
    assert t["BYTES"] == len(text.encode())
    assert t["NEWLINE"] == text.count("\n")
    assert t["LINES"] == len([*text.removesuffix("\n").split("\n")]) * bool(text)
    kinds = list(range(Tally.CONTROL, Tally.NON_ASCII + 1))
    assert sum(t[Tally(kind).name] for kind in kinds) == t["BYTES"]
    words = "".join(c if c.isalnum() or c == "_" or ord(c) > 127 else " " for c in text).split(" ")
    assert t["WORDS"] == sum(1 for word in words if word)


@given(st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_slices_nulls_and_widths_of_offsets_change_nothing(texts, data):
    start = data.draw(st.integers(0, len(texts)))
    plain = Structure().transform(pa.array([t or "" for t in texts[start:]], pa.string()))
    for array in (
        pa.array(texts, pa.string())[start:],
        pa.array(texts, pa.large_string())[start:],
        pa.array(texts, pa.string()).dictionary_encode()[start:],
        pa.chunked_array([texts[:start], texts[start:]], pa.string()).slice(start),
    ):
        assert np.array_equal(Structure().transform(array), plain)


def test_neighbours_do_not_matter():
    alone = Structure().transform(pa.array([CODE]))
    among = Structure().transform(pa.array([PROSE, CODE, "", CODE]))
    assert np.array_equal(among[1], alone[0])
    assert np.array_equal(among[3], alone[0])


@pytest.mark.parametrize(
    "text",
    ["", "\n", "\x00" * 5_000, "\n" * 30_000, '"""', "é" * 1_000, "[[[[" * 9_000, "\r\n\t \r\n"],
)
def test_hostile_documents_give_finite_numbers(text):
    assert all(np.isfinite(value) for value in row(text).values())


def test_a_line_of_many_megabytes_is_one_line():
    found = tally("x = 1 " * 2_000_000)
    assert (found["LINES"], found["MAX_LINE"], found["WORDS"]) == (1, 12_000_000, 4_000_000)


def test_more_lines_than_are_remembered_are_still_counted():
    lines = [f"line number {i}" for i in range(20_000)]
    found = tally("\n".join([*lines, *lines[:100]]))
    assert found["LINES"] == 20_100
    assert found["REPEATED"] == 100


def test_names_match_columns():
    assert Structure().transform(pa.array(["a"])).shape == (1, len(SHARES))
    assert list(Structure().get_feature_names_out()) == list(SHARES)
    assert Structure().transform(pa.array([], pa.string())).shape == (0, len(SHARES))
