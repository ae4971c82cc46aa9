"""One reading of a batch of program texts that counts all that rules and flags ask for.

Two loops walk a text while it lies in the cache: one over its characters, which decodes UTF-8 and
finds encoded data, and one over its lines. They know how a language marks comments, and no more of
its grammar: a line counts as a comment where one begins it or was open there (in Python also a
docstring), so comments after code on the same line do not count. About 9 ns a byte.

Encoded data is a run of 64 characters or more out of those of base64, of which at least one in
sixteen is a digit (rulers of `=`, long names and paths are none), or eight escapes or hexadecimal
numbers in a row (\\x00, \\u0000, 0x00), whatever blanks, commas and quotes stand between them.
Source: StarCoder 2 (arXiv 2402.19173), appendix A; its pattern asks for no digits, and for no
blanks between numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from classifiers.arrow_text import compiled, text_buffers
from pipeline.code_counts import (
    ALNUM,
    COUNTS,
    DIGIT,
    ENCODED,
    LETTER,
    LITERAL,
    SEPARATOR,
    SPACE,
    SYNTAX,
    TRIPLE,
    WORD,
    Count,
    character_classes,
)
from pipeline.code_lines import (
    FIRST_LETTERS,
    begins_block,
    begins_comment,
    count_line,
    count_repeat,
    ends_block,
    say,
)
from pipeline.code_points import code_point
from pipeline.prose_repeats import mask_for

MOST_BYTES = 16 << 20  # of a longer text the beginning is read
SHORTEST_RUN_CHARS, DIGIT_OF = 64, 16
FEWEST_UNITS = 8
_MARGIN = 64
_NEWLINE, _RETURN, _QUOTE, _APOSTROPHE, _ZERO = 10, 13, 34, 39, 48
_BACKSLASH, _LOWER_U, _LOWER_X = 92, 117, 120


def count_code(
    texts: pa.Array | pa.ChunkedArray, languages: Sequence[str | None]
) -> npt.NDArray[np.int64]:
    """int64[N, COUNTS]: the counts of N texts; a null counts as an empty text."""
    data, offsets = text_buffers(texts)
    syntax = np.array([SYNTAX.get(language or "", 0) for language in languages], np.int64)
    counts = np.zeros((len(offsets) - 1, COUNTS), np.int64)
    _count(data, offsets, syntax, character_classes(), counts)
    return counts


@compiled
def _count(data: Any, offsets: Any, syntax: Any, classes: Any, counts: Any) -> None:
    longest = 0
    for k in range(len(offsets) - 1):
        longest = max(longest, min(offsets[k + 1] - offsets[k], MOST_BYTES))
    text = np.full(longest + 2 * _MARGIN, _NEWLINE, np.uint8)
    slots = mask_for(longest // 2 + 2) + 1
    seen = np.empty(slots, np.uint64)  # hashes of lines
    marks = np.zeros(slots, np.int64)  # 2k: seen once in text k, 2k + 1: more often
    for k in range(len(offsets) - 1):
        start, n = offsets[k], min(offsets[k + 1] - offsets[k], MOST_BYTES)
        while start + n < offsets[k + 1] and (data[start + n] & 0xC0) == 0x80:
            n -= 1  # cut between characters
        text[_MARGIN : _MARGIN + n] = data[start : start + n]
        text[_MARGIN + n : 2 * _MARGIN + n] = _NEWLINE
        _count_characters(text, _MARGIN + n, classes, counts[k])
        _count_lines(text, _MARGIN + n, syntax[k], classes, seen, marks, k + 1, counts[k])


@compiled
def _count_characters(text: Any, end: int, classes: Any, t: Any) -> None:
    """Count the characters up to `end` by their classes, and the encoded data among them."""
    at = run_at = _MARGIN
    run_digits, units, units_at, units_end = 0, 0, 0, 0
    was_word = False
    while at < end:
        byte = np.int64(text[at])
        point, width = code_point(text, at)
        kind = np.int64(classes[point])
        t[Count.CHARS] += 1
        t[Count.NON_ASCII] += byte >= 0x80
        t[Count.SPACES] += kind & SPACE
        t[Count.LETTERS] += (kind & LETTER) != 0
        t[Count.ALNUMS] += (kind & ALNUM) != 0
        t[Count.DIGITS] += (kind & DIGIT) != 0
        if not kind & ENCODED:
            _end_run(at - run_at, run_digits, t)
            run_at, run_digits = at + width, 0
        run_digits += (kind & DIGIT) != 0
        if at >= units_end:
            is_unit = byte == _BACKSLASH or (byte == _ZERO and not was_word)
            length = _unit(text, at, byte) if is_unit else 0
            if length > 0:
                units_at = at if units == 0 else units_at
                units, units_end = units + 1, at + length
                t[Count.HEX_NUMBER_CHARS] += length if byte == _ZERO else 0
            elif units > 0 and not kind & SEPARATOR:
                _end_units(units, units_end - units_at, t)
                units = 0
        was_word = (kind & WORD) != 0
        at += width
    _end_run(end - run_at, run_digits, t)
    _end_units(units, units_end - units_at, t)


@compiled
def _count_lines(
    text: Any, end: int, syntax: int, classes: Any, seen: Any, marks: Any, k: int, t: Any
) -> None:
    """Count the lines up to `end` by what they hold and by the comment that is open in them."""
    line_at, full_at, chars, shown_chars, said = _MARGIN, -1, 0, 0, 0
    quote: Any = 0
    quote_free, is_docstring, block, is_comment = 0, False, False, False
    was_word = False
    for at in range(_MARGIN, end + 1):  # the newline behind the end closes an open line
        byte = np.int64(text[at])
        kind = np.int64(classes[byte]) if byte < 0x80 else 0
        if at == end and line_at == end:
            break
        if byte == _NEWLINE:
            chars -= at > line_at and text[at - 1] == _RETURN
            t[Count.LINES] += 1
            t[Count.LINE_CHARS] += chars
            t[Count.MAX_LINE_CHARS] = max(t[Count.MAX_LINE_CHARS], chars)
            if full_at >= 0:
                is_literal = (classes[text[full_at]] & LITERAL) != 0
                count_line(shown_chars, is_literal, said, is_comment, t)
                count_repeat(text, full_at, at, seen, marks, k, t)
            line_at, full_at, chars, shown_chars, said = at + 1, -1, 0, 0, 0
            is_comment = block or is_docstring
        else:
            if full_at < 0 and not kind & SPACE:
                full_at = at
                if quote == 0 and not block:
                    block = begins_block(text, at, syntax)
                    is_comment = block or begins_comment(text, at, syntax)
            is_char = (byte & 0xC0) != 0x80
            chars, shown_chars = chars + is_char, shown_chars + (is_char and full_at >= 0)
            if not was_word and FIRST_LETTERS[byte]:
                said |= say(text, at, classes, at == full_at)
            block = block and not ends_block(text, at, syntax)
            if syntax & TRIPLE and byte in (_QUOTE, _APOSTROPHE) and at >= quote_free:
                thrice = text[at + 1] == byte and text[at + 2] == byte
                if thrice and quote == byte:
                    quote, quote_free, is_docstring = 0, at + 3, False
                elif thrice and quote == 0 and not is_comment:
                    quote, quote_free = byte, at + 3
                    is_docstring = at - full_at <= 1  # a letter may stand before it: r, b, u
                    is_comment = is_docstring
        was_word = (kind & WORD) != 0


@compiled
def _end_run(chars: int, digits: int, t: Any) -> None:
    """Count a run of base64's characters, if it is long and not a name."""
    if chars >= SHORTEST_RUN_CHARS and digits * DIGIT_OF >= chars:
        t[Count.ENCODED_CHARS] += chars
        t[Count.LONGEST_ENCODED_CHARS] = max(t[Count.LONGEST_ENCODED_CHARS], chars)


@compiled
def _end_units(units: int, chars: int, t: Any) -> None:
    """Count escapes or hexadecimal numbers that stand in a row."""
    if units >= FEWEST_UNITS:
        t[Count.ENCODED_CHARS] += chars
        t[Count.LONGEST_ENCODED_CHARS] = max(t[Count.LONGEST_ENCODED_CHARS], chars)


@compiled
def _unit(text: Any, at: int, byte: Any) -> int:
    """Bytes of the escape or hexadecimal number that begins here, or 0."""
    letter = np.int64(text[at + 1]) | 32
    if letter != _LOWER_X and not (letter == _LOWER_U and byte == _BACKSLASH):
        return 0
    most = 2 if byte == _BACKSLASH and letter == _LOWER_X else 4
    most = 16 if byte == _ZERO else most
    length = 2
    while length < 2 + most:
        digit = np.int64(text[at + length])
        if not (48 <= digit <= 57 or 97 <= (digit | 32) <= 102):
            break
        length += 1
    return length if length > 2 else 0
