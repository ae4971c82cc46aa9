"""The structural numbers, against counts made the slow way, and against hostile documents."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.reading import read_texts
from classifiers.shares import SHARES
from classifiers.structure import Structure
from classifiers.tally import Tally

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
    tallies = read_texts(pa.array([text])).tallies
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
    classes = list(range(Tally.LOWER, Tally.NON_ASCII + 1))
    others = len(re.findall(r"[#$@\\]", text))
    assert sum(t[Tally(kind).name] for kind in classes) + others == t["BYTES"]
    assert t["UPPER"] == sum(c.isascii() and c.isupper() for c in text)
    words = "".join(c if c.isalnum() or c == "_" or ord(c) > 127 else " " for c in text).split(" ")
    assert t["WORDS"] == sum(1 for word in words if word)


MARKS = st.text(alphabet="ab_Z9.!?#-*+=~^>@<(/:]\"'` \t\r\n\n", max_size=300)


def slow_tally(text: str) -> dict[str, int]:
    """The same counts by regular expressions, line by line."""
    lines = text.removesuffix("\n").split("\n") if text else []
    shown = [line.lstrip(" \t\r") for line in lines]
    ended = text if text.endswith("\n") or not text else text + "\n"
    long = [line for line in shown if len(line.encode()) >= 8]
    return {
        "LINES": len(lines),
        "BLANK": sum(not line for line in shown),
        "MAX_LINE": max((len(line.encode()) for line in lines), default=0),
        "LINE_SQUARES": sum(len(line.encode()) ** 2 for line in lines),
        "INDENTED": sum(bool(s) and s != line for s, line in zip(shown, lines, strict=True)),
        "INDENT_BYTES": sum(len(line) - len(s) for s, line in zip(shown, lines, strict=True)),
        "REPEATED": len(long) - len(set(long)),
        "CAPITALIZED": sum(bool(re.match("[A-Z]", line)) for line in shown),
        "ENDED": sum(line.endswith((".", "!", "?")) for line in lines),
        "RULED": sum(bool(re.match(r"([=*~^-])\1\1", line)) for line in shown),
        "PROMPT": sum(line.startswith(">>>") for line in shown),
        "COMMENT": sum(line.startswith("#") for line in shown),
        "COMMENT_BYTES": sum(len(line.encode()) for line in shown if line.startswith("#")),
        "HEADING": sum(bool(re.match("#[# ]", line)) for line in lines),
        "LISTED": sum(bool(re.match(r"[*+-] |[0-9]\.", line)) for line in shown),
        "DECORATOR": sum(line.startswith("@") for line in shown),
        "SENTENCES": len(re.findall(r"[.!?](?=[\x00-\x20])", ended)),
        "LINKS": text.count("://"),
        "MARKDOWN_LINKS": text.count("]("),
        "TAGS": len(re.findall("<[/a-z]", text)),
        "SIDE_COMMENTS": len(re.findall(" (?=# )", re.sub("(?m)^[ \t\r]+#", "#", text))),
        "FENCES": quoted(text)[0],
        "QUOTED_BLOCKS": quoted(text)[1],
    }


def quoted(text: str) -> tuple[int, int]:
    """Fences and triple-quoted blocks that were opened; a block ends at its own mark."""
    opened, by = Counter(), ""
    for mark in re.findall("\"\"\"|'''|```", text):
        if not by:
            by = mark
            opened[mark == "```"] += 1
        elif mark == by:
            by = ""
    return opened[True], opened[False]


@given(MARKS)
@settings(max_examples=400, deadline=None)
def test_bit_by_bit_gives_what_line_by_line_gives(text):
    t = tally(text)
    expected = slow_tally(text)
    assert {name: t[name] for name in expected} == expected


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
