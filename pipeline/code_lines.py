"""A line of program text: the comments that begin or end in it, its first words, its twins.

Comments are told by their marks alone, as `pipeline.code_counts` lists them by language.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled
from classifiers.byte_masks import eight_bytes
from pipeline.code_counts import (
    ARROW,
    BLOCK,
    DASHES,
    HASH,
    PERCENT,
    SEMICOLON,
    SLASHES,
    WORD,
    Count,
)
from pipeline.prose_repeats import KEPT_BYTES, hash_bytes

_HASH, _PERCENT, _STAR, _DASH, _SLASH, _SEMICOLON = 35, 37, 42, 45, 47, 59
_BANG, _LESS, _MORE = 33, 60, 62
_LOWER_CASE = np.uint64(0x2020202020202020)

# Words that say what a line is: (word, its column, whether it must begin the line).
_WORDS = (
    ("todo", Count.UNDONE_LINES, False), ("fixme", Count.UNDONE_LINES, False),
    ("assert", Count.ASSERT_LINES, False), ("def test", Count.TEST_FUNCTIONS, False),
    ("import", Count.IMPORT_LINES, True), ("from", Count.IMPORT_LINES, True),
    ("def", Count.FUNCTION_LINES, True), ("async", Count.FUNCTION_LINES, True),
    ("func", Count.FUNCTION_LINES, True), ("fn", Count.FUNCTION_LINES, True),
    ("function", Count.FUNCTION_LINES, True), ("pass", Count.PASS_LINES, True),
    ("print", Count.PRINT_LINES, True),
)  # fmt: skip
_KEYS = np.array([int.from_bytes(w.encode(), "little") for w, _, _ in _WORDS], np.uint64)
_KEY_BYTES = np.array([len(w) for w, _, _ in _WORDS], np.int64)
_COLUMNS = np.array([int(c) for _, c, _ in _WORDS], np.int64)
_BEGINS_LINE = np.array([first for _, _, first in _WORDS])
_IS_PREFIX = np.array([w in {"assert", "def test"} for w, _, _ in _WORDS])
FIRST_LETTERS = np.zeros(256, np.bool_)
FIRST_LETTERS[[ord(c) for w, _, _ in _WORDS for c in (w[0], w[0].upper())]] = True


@compiled
def begins_comment(text: Any, at: int, syntax: int) -> bool:
    """Whether a comment to the end of its line begins here."""
    byte, after = text[at], text[at + 1]
    if byte == _HASH:
        return (syntax & HASH) != 0
    if byte == _SLASH:
        return (syntax & SLASHES) != 0 and after == _SLASH
    if byte == _DASH:
        return (syntax & DASHES) != 0 and after == _DASH
    if byte == _PERCENT:
        return (syntax & PERCENT) != 0
    return (syntax & SEMICOLON) != 0 and byte == _SEMICOLON


@compiled
def begins_block(text: Any, at: int, syntax: int) -> bool:
    """Whether a comment that may go over lines begins here."""
    if text[at] == _SLASH:
        return (syntax & BLOCK) != 0 and text[at + 1] == _STAR
    dashes = text[at + 2] == _DASH and text[at + 3] == _DASH
    return (syntax & ARROW) != 0 and text[at] == _LESS and text[at + 1] == _BANG and dashes


@compiled
def ends_block(text: Any, at: int, syntax: int) -> bool:
    """Whether such a comment ends with this byte."""
    if text[at] == _SLASH:
        return (syntax & BLOCK) != 0 and text[at - 1] == _STAR
    dashes = text[at - 1] == _DASH and text[at - 2] == _DASH
    return (syntax & ARROW) != 0 and text[at] == _MORE and dashes


@compiled
def say(text: Any, at: int, classes: Any, begins_line: bool) -> int:
    """The columns that the word which begins here counts in, as bits."""
    eight, said = eight_bytes(text, at) | _LOWER_CASE, 0
    for i in range(len(_KEYS)):
        length = _KEY_BYTES[i]
        is_whole = _IS_PREFIX[i] or not classes[text[at + length]] & WORD
        is_here = begins_line or not _BEGINS_LINE[i]
        if is_whole and is_here and eight & KEPT_BYTES[length] == _KEYS[i]:
            said |= 1 << _COLUMNS[i]
    return said


@compiled
def count_line(chars: int, is_literal: bool, said: int, is_comment: bool, t: Any) -> None:
    """Count a full line of so many characters from its first that is not a blank."""
    t[Count.FULL_LINES] += 1
    t[Count.COMMENT_LINES] += is_comment
    t[Count.COMMENT_CHARS] += chars if is_comment else 0
    t[Count.LITERAL_LINES] += is_literal and not is_comment
    for column in range(Count.UNDONE_LINES, Count.TEST_FUNCTIONS + 1):
        t[column] += (said >> column) & 1


@compiled
def count_repeat(text: Any, at: int, end: int, seen: Any, marks: Any, k: int, t: Any) -> None:
    """Count a line that stands elsewhere too, and the first of them with the second."""
    while end > at and text[end - 1] <= 32:
        end -= 1
    if end - at < 2:
        return
    hashed = hash_bytes(text, at, end)
    mask = len(seen) - 1
    slot = np.int64(hashed >> np.uint64(16)) & mask
    while marks[slot] >> 1 == k:
        if seen[slot] == hashed:
            t[Count.REPEATED_LINES] += 1 + (marks[slot] & 1 == 0)
            marks[slot] = 2 * k + 1
            return
        slot = (slot + 1) & mask
    seen[slot], marks[slot] = hashed, 2 * k
