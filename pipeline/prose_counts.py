"""What is counted in a text, and what each character counts as.

A character's class is one byte of a table over all of Unicode, so letters of every script count
as letters, as in Python: `str.isalpha`, `str.isspace` and `str.splitlines` fill the table.
Punctuation and end marks are datatrove's sets, which its Gopher and FineWeb filters use.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SPACE, BREAK, LETTER, NO_PUNCTUATION, END_MARK = 1, 2, 4, 8, 16  # bits of a class
_LINE_BREAKS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"


class Count(IntEnum):
    """Columns of the counts of a text. A line ends where `str.splitlines` ends one;
    a row is what stands between newlines; "full" is what holds more than white space."""

    CHARS = 0
    NEWLINES = 1
    WORDS = 2
    PLAIN_WORDS = 3  # words that are not all punctuation
    PLAIN_WORD_CHARS = 4
    LETTER_WORDS = 5  # words with a letter
    STOP_WORDS = 6  # different ones
    HASHES = 7
    ELLIPSES = 8
    LINES = 9
    FULL_LINES = 10
    BULLET_LINES = 11
    ELLIPSIS_LINES = 12
    FULL_ROWS = 13
    ENDED_ROWS = 14
    SHORT_ROWS = 15
    ROWS = 16  # as Gopher splits: at runs of newlines
    REPEATED_ROWS = 17
    REPEATED_ROW_CHARS = 18
    REPEATED_FULL_ROW_CHARS = 19
    PARAGRAPHS = 20
    REPEATED_PARAGRAPHS = 21
    REPEATED_PARAGRAPH_CHARS = 22
    TOP_2_GRAM_CHARS = 23
    TOP_3_GRAM_CHARS = 24
    TOP_4_GRAM_CHARS = 25
    REPEATED_5_GRAM_CHARS = 26
    REPEATED_6_GRAM_CHARS = 27
    REPEATED_7_GRAM_CHARS = 28
    REPEATED_8_GRAM_CHARS = 29
    REPEATED_9_GRAM_CHARS = 30
    REPEATED_10_GRAM_CHARS = 31
    OPEN_LINES = 32  # lines that C4 cuts, by why: no end mark
    FEW_WORD_LINES = 33
    LONG_WORD_LINES = 34
    JAVASCRIPT_LINES = 35
    POLICY_LINES = 36
    LOREM_LINES = 37  # among the lines that C4 keeps
    CURLY_LINES = 38
    SENTENCES = 39
    REPEATED_FULL_ROWS = 40


COUNTS = len(Count)


@lru_cache(maxsize=1)
def character_classes() -> npt.NDArray[np.uint8]:
    """uint8[0x110000]: the class of each code point."""
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

    every = [chr(point) for point in range(sys.maxunicode + 1)]
    spaces = np.fromiter(map(str.isspace, every), np.uint8, len(every))
    letters = np.fromiter(map(str.isalpha, every), np.uint8, len(every))
    classes = spaces * np.uint8(SPACE) + letters * np.uint8(LETTER) + np.uint8(NO_PUNCTUATION)
    classes[[ord(c) for c in PUNCTUATION_SET]] &= np.uint8(0xFF ^ NO_PUNCTUATION)
    classes[[ord(c) for c in TERMINAL_PUNCTUATION]] |= np.uint8(END_MARK)
    classes[[ord(c) for c in _LINE_BREAKS]] |= np.uint8(BREAK)
    classes.flags.writeable = False
    return classes
