"""Counting what a document is made of: bytes, lines, words and marks, in compiled loops.

The loops run over Arrow's own bytes: no regular expression and no Python object per document.
They keep a histogram of bytes, the shape of each line and the hash of each word.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.arrow_text import compiled, fnv

LONG_WORD_BYTES = 13
SHORTEST_REPEATED_LINE_BYTES = 8  # closing brackets and `else:` repeat in good code too
REMEMBERED_LINES = 1 << 14  # slots of the set of lines seen in one document; half are used


class Tally(IntEnum):
    """What is counted in a document: one column each."""

    BYTES = 0
    # Bytes, by what they are.
    CONTROL, LOWER, UPPER, DIGIT, SPACE, NEWLINE, BRACKET = (auto() for _ in range(7))
    QUOTE, OPERATOR, UNDERSCORE, COMMA, STOP, HASH, OTHER, NON_ASCII = (auto() for _ in range(8))
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
    ENTROPY_MILLIBITS = auto()


def _byte_classes() -> npt.NDArray[np.int64]:
    table = np.full(256, int(Tally.OTHER), np.int64)
    table[:32] = table[127] = Tally.CONTROL
    table[128:] = Tally.NON_ASCII
    for name, members in {
        Tally.LOWER: range(97, 123), Tally.UPPER: range(65, 91), Tally.DIGIT: range(48, 58),
        Tally.SPACE: b" \t\r", Tally.NEWLINE: b"\n", Tally.BRACKET: b"()[]{}",
        Tally.QUOTE: b"\"'`", Tally.OPERATOR: b"=+-*/<>%&|^~", Tally.UNDERSCORE: b"_",
        Tally.COMMA: b",;:", Tally.STOP: b".!?", Tally.HASH: b"#",
    }.items():  # fmt: skip
        table[list(members)] = name
    return table


_FIRST_WORDS = {
    Tally.DEF: "def async", Tally.CLASS: "class", Tally.IMPORT: "import from",
    Tally.RETURN: "return yield", Tally.FLOW: "if elif else for while try except with",
    Tally.PRINT: "print", Tally.ASSERT: "assert", Tally.SELF: "self", Tally.RAISE: "raise",
}  # fmt: skip
_FUNCTION_WORDS = "the of and to a in is that it this we you are as be can with by on not have"
WORD_SLOTS = 4_093  # prime, and free of collisions among these words


def _word_table(words: dict[str, int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Hash and column of each word, at the hash's slot."""
    hashes, columns = np.zeros(WORD_SLOTS, np.int64), np.zeros(WORD_SLOTS, np.int64)
    for word, column in words.items():
        slot = fnv(word) % WORD_SLOTS
        assert hashes[slot] == 0, word
        hashes[slot], columns[slot] = fnv(word), column
    return hashes, columns


BYTE_CLASS = _byte_classes()
WORD_BYTE = np.isin(
    BYTE_CLASS, [Tally.LOWER, Tally.UPPER, Tally.DIGIT, Tally.UNDERSCORE, Tally.NON_ASCII]
)
FIRST_HASH, FIRST_COLUMN = _word_table(
    {word: int(column) for column, words in _FIRST_WORDS.items() for word in words.split()}
)
FUNCTION_HASH, _ = _word_table(dict.fromkeys(_FUNCTION_WORDS.split(), 0))


@compiled
def _count_bytes(data: Any, start: int, end: int, histogram: Any, t: Any) -> None:
    """Bytes by what they are, and the entropy of the document's bytes."""
    histogram[:] = 0
    for i in range(start, end):
        histogram[data[i]] += 1
    bits = 0.0
    for byte in range(256):
        if histogram[byte]:
            t[BYTE_CLASS[byte]] += histogram[byte]
            share = histogram[byte] / (end - start)
            bits -= share * np.log2(share)
    t[Tally.ENTROPY_MILLIBITS] = np.int64(bits * 1000)


@compiled
def is_word(byte: int) -> bool:
    """Letters, digits, underscores, and all that is not ASCII."""
    return WORD_BYTE[byte]  # type: ignore[no-any-return]


@compiled
def _count_words(data: Any, start: int, end: int, t: Any) -> None:
    """Words, long words and English function words."""
    hashed, length = np.int64(0x811C9DC5), 0
    for i in range(start, end + 1):
        if i < end and is_word(data[i]):
            hashed = ((hashed ^ (data[i] | 32)) * 0x01000193) & 0xFFFFFFFF
            length += 1
        elif length:
            t[Tally.WORDS] += 1
            t[Tally.WORD_BYTES] += length
            t[Tally.LONG_WORDS] += length >= LONG_WORD_BYTES
            t[Tally.FUNCTION_WORDS] += FUNCTION_HASH[hashed % WORD_SLOTS] == hashed
            hashed, length = np.int64(0x811C9DC5), 0


@compiled
def _count_marks(data: Any, start: int, end: int, t: Any) -> None:
    """Ends of sentences, links, tags, and what stands between triple quotes or fences."""
    i = start
    while i < end - 2:
        a, b, c = data[i], data[i + 1], data[i + 2]
        if a == b and b == c and BYTE_CLASS[a] == Tally.QUOTE:  # """ or ''' or ```
            _quote(i, a, t)
            i += 3
            continue
        t[Tally.SENTENCES] += BYTE_CLASS[a] == Tally.STOP and b <= 32
        t[Tally.LINKS] += a == 58 and b == 47 and c == 47  # ://
        t[Tally.MARKDOWN_LINKS] += a == 93 and b == 40  # ](
        t[Tally.TAGS] += a == 60 and (b == 47 or BYTE_CLASS[b] == Tally.LOWER)  # </ or <a
        t[Tally.SIDE_COMMENTS] += a == 32 and b == 35 and c == 32
        i += 1


@compiled
def _quote(i: int, mark: int, t: Any) -> None:
    """Open a triple quote, or close the one that the same mark opened."""
    if t[Tally.QUOTED_BY] == 0:
        t[Tally.QUOTED_BY], t[Tally.QUOTED_SINCE] = mark, i
        t[Tally.FENCES] += mark == 96
        t[Tally.QUOTED_BLOCKS] += mark != 96
    elif t[Tally.QUOTED_BY] == mark:
        t[Tally.QUOTED_BYTES] += i - t[Tally.QUOTED_SINCE]
        t[Tally.QUOTED_BY] = 0


@compiled
def _count_line(data: Any, start: int, end: int, t: Any) -> int:
    """The shape and the first mark of a line without its newline; returns where its text is."""
    text = start
    while text < end and BYTE_CLASS[data[text]] == Tally.SPACE:
        text += 1
    length = end - start
    t[Tally.LINES] += 1
    t[Tally.MAX_LINE] = max(t[Tally.MAX_LINE], length)
    t[Tally.LINE_SQUARES] += length * length
    if text == end:
        t[Tally.BLANK] += 1
        return text
    t[Tally.INDENTED] += text > start
    t[Tally.INDENT_BYTES] += text - start
    first, second = data[text], data[min(text + 1, end - 1)]
    t[Tally.CAPITALIZED] += BYTE_CLASS[first] == Tally.UPPER
    t[Tally.ENDED] += BYTE_CLASS[data[end - 1]] == Tally.STOP
    t[Tally.DECORATOR] += first == 64  # @
    if first == 35:  # a comment in code, a heading in Markdown
        t[Tally.COMMENT] += 1
        t[Tally.COMMENT_BYTES] += end - text
        t[Tally.HEADING] += text == start and second in (32, 35)
        # `_count_marks` took an indented comment for one that stands beside code.
        t[Tally.SIDE_COMMENTS] -= text > start and data[text - 1] == 32 and second == 32
    if BYTE_CLASS[first] == Tally.OPERATOR:
        t[Tally.LISTED] += second == 32
        t[Tally.RULED] += second == first and data[end - 1] == first
        t[Tally.PROMPT] += first == 62 and second == 62  # >>>
    return text


@compiled
def _first_word(data: Any, start: int, end: int, t: Any) -> None:
    hashed, i = np.int64(0x811C9DC5), start
    while i < end and is_word(data[i]):
        hashed = ((hashed ^ (data[i] | 32)) * 0x01000193) & 0xFFFFFFFF
        i += 1
    slot = hashed % WORD_SLOTS
    if i > start and FIRST_HASH[slot] == hashed:
        t[FIRST_COLUMN[slot]] += 1


@compiled
def _seen_before(data: Any, start: int, end: int, document: int, lines: Any, room: int) -> int:
    """1 for a line that this document had before, 0 for a new one, which is remembered.

    `lines` is int64[slots, 2] of (document, hash): what earlier documents left counts as empty.
    """
    hashed = np.int64(0x811C9DC5)
    for i in range(start, end):
        hashed = ((hashed ^ data[i]) * 0x01000193) & 0xFFFFFFFF
    slot = hashed % REMEMBERED_LINES
    while lines[slot, 0] == document:
        if lines[slot, 1] == hashed:
            return 1
        slot = (slot + 1) % REMEMBERED_LINES
    if room > 0:
        lines[slot, 0], lines[slot, 1] = document, hashed
    return 0


@compiled
def count(data: Any, offsets: Any, tallies: Any) -> None:
    """Fill int64[N, len(Tally)] with the counts of N documents."""
    histogram = np.zeros(256, np.int64)
    lines = np.full((REMEMBERED_LINES, 2), -1, np.int64)
    for document in range(len(offsets) - 1):
        start, end, t = offsets[document], offsets[document + 1], tallies[document]
        t[Tally.BYTES] = end - start
        if start == end:
            continue
        _count_bytes(data, start, end, histogram, t)
        _count_words(data, start, end, t)
        _count_marks(data, start, end, t)
        room, line = REMEMBERED_LINES // 2, start
        for i in range(start, end + 1):
            if i < end and data[i] != 10:
                continue
            if i < end or line < end:  # no empty line after the last newline
                text = _count_line(data, line, i, t)
                _first_word(data, text, i, t)
                if i - text >= SHORTEST_REPEATED_LINE_BYTES:
                    t[Tally.REPEATED] += _seen_before(data, text, i, document, lines, room)
                    room -= 1
            line = i + 1
