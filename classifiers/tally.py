"""What is counted in a document: one column each, and the few words that have one of their own."""

from __future__ import annotations

from enum import IntEnum, auto

import numpy as np
import numpy.typing as npt


class Tally(IntEnum):
    """What is counted in a document: one column each."""

    BYTES = 0
    # Bytes, by what they are.
    LOWER, UPPER, DIGIT, SPACE, NEWLINE, CONTROL, BRACKET = (auto() for _ in range(7))
    QUOTE, OPERATOR, UNDERSCORE, COMMA, STOP, NON_ASCII = (auto() for _ in range(6))
    # Lines.
    LINES, BLANK, INDENTED, INDENT_BYTES, MAX_LINE, LINE_SQUARES = (auto() for _ in range(6))
    REPEATED, CAPITALIZED, ENDED, RULED = (auto() for _ in range(4))
    COMMENT, COMMENT_BYTES, HEADING, LISTED, DECORATOR, PROMPT = (auto() for _ in range(6))
    # Lines, by their first word.
    DEF, CLASS, IMPORT, RETURN, FLOW, PRINT, ASSERT, SELF, RAISE = (auto() for _ in range(9))
    # Words and marks.
    WORDS, WORD_BYTES, LONG_WORDS, FUNCTION_WORDS = (auto() for _ in range(4))
    SENTENCES, LINKS, MARKDOWN_LINKS, TAGS, FENCES, SIDE_COMMENTS = (auto() for _ in range(6))
    QUOTED_BLOCKS, QUOTED_BYTES, QUOTED_SINCE, QUOTED_BY = (auto() for _ in range(4))
    NOTHING = auto()  # takes the counts that do not count


COLUMNS = len(Tally)
_FIRST_WORDS = {
    Tally.DEF: "def async", Tally.CLASS: "class", Tally.IMPORT: "import from",
    Tally.RETURN: "return yield", Tally.FLOW: "if elif else for while try except with",
    Tally.PRINT: "print", Tally.ASSERT: "assert", Tally.SELF: "self", Tally.RAISE: "raise",
}  # fmt: skip
_FUNCTION_WORDS = "the of and to a in is that it this we you are as be can with by on not have"
KNOWN_SLOTS_BITS = 8
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplier: 2**64 over the golden ratio


def _known_words() -> tuple[np.uint64, npt.NDArray[np.uint64], list[str]]:
    """A multiplier that gives every known word a slot of its own, its eight bytes, and itself."""
    words = sorted({*_FUNCTION_WORDS.split(), *" ".join(_FIRST_WORDS.values()).split()})
    packed = [int.from_bytes(word.encode(), "little") for word in words]
    for odd in range(1, 1 << 20, 2):
        multiplier = int(GOLDEN) * odd % (1 << 64)
        slots = [(w * multiplier % (1 << 64)) >> (64 - KNOWN_SLOTS_BITS) for w in packed]
        if len(set(slots)) == len(words):
            break
    assert len(set(slots)) == len(words), "no multiplier tells the known words apart"
    known, names = np.zeros(1 << KNOWN_SLOTS_BITS, np.uint64), [""] * (1 << KNOWN_SLOTS_BITS)
    for slot, word, key in zip(slots, words, packed, strict=True):
        known[slot], names[slot] = key, word
    return np.uint64(multiplier), known, names


KNOWN_MULTIPLIER, KNOWN, _NAMES = _known_words()
_COLUMN_OF = {word: column for column, words in _FIRST_WORDS.items() for word in words.split()}
FIRST_COLUMN = np.array([_COLUMN_OF.get(name, Tally.NOTHING) for name in _NAMES], np.int64)
IS_FUNCTION = np.array([name in _FUNCTION_WORDS.split() for name in _NAMES])
