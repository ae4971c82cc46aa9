"""Counting what a document is made of: bytes, lines, words and marks, 64 bytes at a time.

A document is copied into a buffer with newlines before and after it, so that every line has a
beginning and an end, and a load of 64 bytes may reach beyond it. Most counts are then population
counts of `classifiers.byte_masks`; only words and lines are walked one by one, bit by bit. The
words' hashes are left for the embedding, which would otherwise have to find them again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled
from classifiers.byte_masks import LANES, between, eight_bytes, equal, lowest, ones, repeats
from classifiers.tally import (
    FIRST_COLUMN,
    GOLDEN,
    IS_FUNCTION,
    KNOWN,
    KNOWN_MULTIPLIER,
    KNOWN_SLOTS_BITS,
    Tally,
)

Bits = Any  # uint64: bit k says something of byte k

LONG_WORD_BYTES = 13
SHORTEST_REPEATED_LINE_BYTES = 8  # closing brackets and `else:` repeat in good code too
REMEMBERED_LINES = 1 << 13  # slots of the set of lines seen in one document; half are used
MARGIN = LANES  # newlines before a document in the buffer, and at least as many after it

_LOWER_CASE = np.uint64(0x2020202020202020)
_32, _63 = np.uint64(32), np.uint64(63)
_0, _1, _2, _62 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(62)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_KEPT_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_WORD_BYTE = np.array([chr(b).isalnum() or b == 95 or b > 127 for b in range(256)])
_KNOWN_SHIFT = np.uint64(64 - KNOWN_SLOTS_BITS)


@compiled
def read_document(text: Any, n: int, mark: int, hashes: Any, lines: Any, t: Any) -> int:
    """Count a document into `t`, and leave the hashes of its words; returns how many they are.

    Its `n` bytes lie in `text` between margins. `mark` differs from document to document, `lines`
    is uint64[REMEMBERED_LINES], and `hashes` has room for a word in every two bytes.
    """
    open_end = n > 0 and text[MARGIN + n - 1] != 10  # the last line has no newline of its own
    indent, earlier_texts, earlier_word, found = _0, _0, _0, 0
    word_at, line_at, text_at, unquoted = -1, MARGIN, MARGIN, MARGIN
    t[Tally.BYTES] = n
    for i in range(MARGIN, MARGIN + n + 1, LANES):
        left = MARGIN + n - i
        inside = _ALL if left >= LANES else (_1 << np.uint64(left)) - _1
        after = _0 if left >= LANES else _1 << np.uint64(left)  # the byte after the last
        ends = equal(text, i, 10) & (inside | (after if open_end else _0))
        # A line's first byte that is not a blank: an addition carries over the run of blanks.
        begins = equal(text, i - 1, 10) & (inside | ends)
        blanks = (equal(text, i, 32) | equal(text, i, 9) | equal(text, i, 13)) & inside
        total = blanks + (begins | indent)
        indent = _1 if total < (begins | indent) else _0
        texts = total & ~blanks & (inside | ends)
        second = (texts << _1) | (earlier_texts >> _63)
        third = (texts << _2) | (earlier_texts >> _62)
        t[Tally.INDENT_BYTES] += ones(blanks & ~total)
        t[Tally.INDENTED] += ones(texts & ~begins & ~ends)
        _count_bytes(text, i, inside, blanks, t)
        _count_lines(text, i, texts, second, third, ends, t)
        quotes = _count_marks(text, i, inside | after, inside, second, t)
        unquoted = _walk_quotes(text, i, quotes, unquoted, t)
        word = _word_bytes(text, i) & inside
        edges = word ^ ((word << _1) | earlier_word)
        t[Tally.WORD_BYTES] += ones(word)
        word_at, found = _walk_words(text, i, edges, texts, word_at, hashes, found, t)
        line_at, text_at = _walk_lines(text, i, texts, ends, line_at, text_at, mark, lines, t)
        earlier_texts, earlier_word = texts, word >> _63
    t[Tally.WORDS] = found
    return found


@compiled
def _walk_quotes(text: Any, i: int, quotes: Bits, unquoted: int, t: Any) -> int:
    """Open and close triple quotes; returns where the next one may begin."""
    while quotes:
        at = i + lowest(quotes)
        quotes &= quotes - _1
        if at >= unquoted + 2:
            _quote(at, text[at], t)
            unquoted = at + 1
    return unquoted


@compiled
def _walk_words(
    text: Any, i: int, edges: Bits, texts: Bits, word_at: int, hashes: Any, found: int, t: Any
) -> tuple[int, int]:
    """Read the words that end here; returns where one is still open (or -1), and how many."""
    while edges:
        bit = lowest(edges)
        edges &= edges - _1
        if word_at < 0:
            word_at = i + bit
            if (texts >> np.uint64(bit)) & _1:
                _read_first_word(text, word_at, t)
        else:
            hashes[found] = _read_word(text, word_at, i + bit - word_at, t)
            found += 1
            word_at = -1
    return word_at, found


@compiled
def _walk_lines(
    text: Any, i: int, texts: Bits, ends: Bits, line_at: int, text_at: int, mark: int, lines: Any,
    t: Any,
) -> tuple[int, int]:  # fmt: skip
    """Measure the lines that end here; returns where the open one and its text begin."""
    events = texts | ends
    while events:
        bit = lowest(events)
        events &= events - _1
        if (texts >> np.uint64(bit)) & _1:
            text_at = i + bit
        if (ends >> np.uint64(bit)) & _1:
            length, shown = i + bit - line_at, i + bit - text_at
            t[Tally.MAX_LINE] = max(t[Tally.MAX_LINE], length)
            t[Tally.LINE_SQUARES] += length * length
            t[Tally.COMMENT_BYTES] += shown * (text[text_at] == 35)
            if shown >= SHORTEST_REPEATED_LINE_BYTES:
                room = t[Tally.LINES] < REMEMBERED_LINES // 2
                t[Tally.REPEATED] += _seen_before(text, text_at, i + bit, mark, lines, room)
            line_at = i + bit + 1
    return line_at, text_at


@compiled
def _word_bytes(text: Any, i: int) -> Bits:
    """Letters, digits, underscores, and all that is not ASCII."""
    letters = between(text, i, 97, 122) | between(text, i, 65, 90)
    return letters | between(text, i, 48, 57) | equal(text, i, 95) | between(text, i, 128, 255)


@compiled
def _stops(text: Any, i: int) -> Bits:
    return equal(text, i, 46) | equal(text, i, 33) | equal(text, i, 63)


@compiled
def _operators(text: Any, i: int) -> Bits:
    """= + - * / < > % & | ^ ~"""
    few = between(text, i, 37, 38) | between(text, i, 42, 43) | between(text, i, 60, 62)
    return few | (
        equal(text, i, 45) | equal(text, i, 47) | equal(text, i, 94) | equal(text, i, 124)
        | equal(text, i, 126)
    )  # fmt: skip


@compiled
def _count_bytes(text: Any, i: int, inside: Bits, blanks: Bits, t: Any) -> None:
    """Bytes by what they are."""
    newlines = equal(text, i, 10) & inside
    t[Tally.NEWLINE] += ones(newlines)
    t[Tally.SPACE] += ones(blanks)
    t[Tally.LOWER] += ones(between(text, i, 97, 122) & inside)
    t[Tally.UPPER] += ones(between(text, i, 65, 90) & inside)
    t[Tally.DIGIT] += ones(between(text, i, 48, 57) & inside)
    control = (between(text, i, 0, 31) | equal(text, i, 127)) & inside
    t[Tally.CONTROL] += ones(control & ~blanks & ~newlines)
    t[Tally.UNDERSCORE] += ones(equal(text, i, 95) & inside)
    t[Tally.NON_ASCII] += ones(between(text, i, 128, 255) & inside)
    t[Tally.STOP] += ones(_stops(text, i) & inside)
    t[Tally.OPERATOR] += ones(_operators(text, i) & inside)
    quotes = equal(text, i, 34) | equal(text, i, 39) | equal(text, i, 96)
    t[Tally.QUOTE] += ones(quotes & inside)
    commas = equal(text, i, 44) | between(text, i, 58, 59)
    t[Tally.COMMA] += ones(commas & inside)
    brackets = between(text, i, 40, 41) | equal(text, i, 91) | equal(text, i, 93)
    brackets |= equal(text, i, 123) | equal(text, i, 125)
    t[Tally.BRACKET] += ones(brackets & inside)


@compiled
def _count_lines(
    text: Any, i: int, texts: Bits, second: Bits, third: Bits, ends: Bits, t: Any
) -> None:
    """Lines by their first bytes that are not blank, and by their last."""
    t[Tally.LINES] += ones(ends)
    t[Tally.BLANK] += ones(ends & texts)
    t[Tally.ENDED] += ones(ends & _stops(text, i - 1))
    t[Tally.CAPITALIZED] += ones(texts & between(text, i, 65, 90))
    t[Tally.DECORATOR] += ones(texts & equal(text, i, 64))
    hashes, spaces = equal(text, i, 35), equal(text, i, 32)
    t[Tally.COMMENT] += ones(texts & hashes)  # in code; in Markdown, a heading
    at_margin = second & equal(text, i - 1, 35) & equal(text, i - 2, 10)
    t[Tally.HEADING] += ones(at_margin & (hashes | spaces))
    bullets = equal(text, i - 1, 45) | equal(text, i - 1, 42) | equal(text, i - 1, 43)
    numbers = between(text, i - 1, 48, 57)
    t[Tally.LISTED] += ones(second & (spaces & bullets | equal(text, i, 46) & numbers))
    thrice = third & repeats(text, i, 1) & repeats(text, i, 2)
    rules = equal(text, i, 61) | equal(text, i, 45) | equal(text, i, 42) | equal(text, i, 126)
    t[Tally.RULED] += ones(thrice & (rules | equal(text, i, 94)))  # = - * ~ ^
    t[Tally.PROMPT] += ones(thrice & equal(text, i, 62))  # >>>


@compiled
def _count_marks(text: Any, i: int, closed: Bits, inside: Bits, second: Bits, t: Any) -> Bits:
    """Ends of sentences, links, tags and comments beside code; returns where triple quotes end."""
    t[Tally.SENTENCES] += ones(between(text, i, 0, 32) & _stops(text, i - 1) & closed)
    slashes = equal(text, i, 47) & inside
    t[Tally.LINKS] += ones(slashes & equal(text, i - 1, 47) & equal(text, i - 2, 58))  # ://
    t[Tally.MARKDOWN_LINKS] += ones(equal(text, i, 40) & equal(text, i - 1, 93) & inside)  # ](
    names = (slashes | between(text, i, 97, 122)) & inside
    t[Tally.TAGS] += ones(names & equal(text, i - 1, 60))  # </ or <a
    beside = equal(text, i, 32) & equal(text, i - 1, 35) & equal(text, i - 2, 32) & inside
    t[Tally.SIDE_COMMENTS] += ones(beside & ~second)
    quotes = equal(text, i, 34) | equal(text, i, 39) | equal(text, i, 96)
    return quotes & repeats(text, i, 1) & repeats(text, i, 2) & inside


@compiled
def _quote(at: int, mark: int, t: Any) -> None:
    """Open a triple quote that ends at `at`, or close the one that the same mark opened."""
    if t[Tally.QUOTED_BY] == 0:
        t[Tally.QUOTED_BY], t[Tally.QUOTED_SINCE] = mark, at
        t[Tally.FENCES] += mark == 96
        t[Tally.QUOTED_BLOCKS] += mark != 96
    elif t[Tally.QUOTED_BY] == mark:
        t[Tally.QUOTED_BYTES] += at - t[Tally.QUOTED_SINCE]
        t[Tally.QUOTED_BY] = 0


@compiled
def _read_first_word(text: Any, at: int, t: Any) -> None:
    """Count the first word of a line, if it is a keyword: all have fewer than eight letters."""
    part, length = eight_bytes(text, at), 0
    while length < 8 and _WORD_BYTE[text[at + length]]:
        length += 1
    part = (part | _LOWER_CASE) & _KEPT_BYTES[length]
    slot = (part * KNOWN_MULTIPLIER) >> _KNOWN_SHIFT
    if KNOWN[slot] == part:
        t[FIRST_COLUMN[slot]] += 1


@compiled
def _read_word(text: Any, at: int, length: int, t: Any) -> Bits:
    """The word's hash of 32 bits, the same in upper and lower case; counts the words we know."""
    t[Tally.LONG_WORDS] += length >= LONG_WORD_BYTES
    part = (eight_bytes(text, at) | _LOWER_CASE) & _KEPT_BYTES[min(length, 8)]
    slot = (part * KNOWN_MULTIPLIER) >> _KNOWN_SHIFT
    t[Tally.FUNCTION_WORDS] += (KNOWN[slot] == part) & IS_FUNCTION[slot]
    hashed = part * GOLDEN
    if length > 8:
        for more in range(8, length, 8):
            kept = _KEPT_BYTES[min(length - more, 8)]
            part = (eight_bytes(text, at + more) | _LOWER_CASE) & kept
            hashed = ((hashed >> _32) ^ hashed ^ part) * GOLDEN
    return hashed >> _32


@compiled
def _seen_before(text: Any, at: int, end: int, mark: int, lines: Any, room: bool) -> int:
    """1 for a line that this document had before, 0 for a new one, which is remembered.

    `lines` holds (document, hash) in halves: what earlier documents left counts as empty.
    """
    hashed = (eight_bytes(text, end - 8) ^ (np.uint64(end - at) * GOLDEN)) * GOLDEN
    for i in range(at, end - 8, 8):
        hashed = ((hashed >> _32) ^ hashed ^ eight_bytes(text, i)) * GOLDEN
    hashed = ((hashed >> _32) ^ hashed) * GOLDEN
    entry = (np.uint64(mark) << _32) | (hashed >> _32)
    slot = (hashed >> np.uint64(16)) % np.uint64(REMEMBERED_LINES)
    while lines[slot] >> _32 == np.uint64(mark):
        if lines[slot] == entry:
            return 1
        slot = (slot + _1) % np.uint64(REMEMBERED_LINES)
    if room:
        lines[slot] = entry
    return 0
