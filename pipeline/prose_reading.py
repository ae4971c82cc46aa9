"""One reading of a batch of texts, character by character, that counts all that rules ask for.

A word is what stands between white space, as in `str.split`: the one tokenizer of all rules. It
needs no model, costs next to nothing, and is what C4 uses; datatrove's English tokenizer (spaCy)
parts punctuation from words.

UTF-8 is decoded as it is read, so lengths are in characters and classes are Unicode's. A text is
copied between margins, so that loads of eight and 64 bytes may reach beyond it; of a text over
`MOST_BYTES` only the beginning is read, so that no record makes the tables grow without bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from classifiers.arrow_text import compiled, text_buffers
from classifiers.byte_masks import LANES, eight_bytes, equal, ones
from pipeline.code_points import code_point
from pipeline.prose_counts import (
    BREAK,
    COUNTS,
    END_MARK,
    LETTER,
    NO_PUNCTUATION,
    SPACE,
    Count,
    character_classes,
)
from pipeline.prose_lines import count_line
from pipeline.prose_repeats import (
    KEPT_BYTES,
    QUESTIONS,
    count_grams,
    count_paragraphs,
    count_row,
    hash_bytes,
    mask_for,
)

MOST_BYTES = 16 << 20
SHORT_ROW_CHARS = 30  # FineWeb
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher
_STOP_WORDS = np.array([int.from_bytes(w.encode(), "little") for w in STOP_WORDS], np.uint64)
_LONGEST_STOP_WORD = max(map(len, STOP_WORDS))
_MARGIN = LANES
_NEWLINE, _RETURN, _HASH, _DOT, _DASH = 10, 13, 35, 46, 45
_ELLIPSIS, _BULLET = 0x2026, 0x2022


def count_texts(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """int64[N, COUNTS]: the counts of N texts; a null counts as an empty text."""
    data, offsets = text_buffers(texts)
    counts = np.zeros((len(offsets) - 1, COUNTS), np.int64)
    _count(data, offsets, character_classes(), counts)
    return counts


@compiled
def _count(data: Any, offsets: Any, classes: Any, counts: Any) -> None:
    longest = 0
    for k in range(len(offsets) - 1):
        longest = max(longest, min(offsets[k + 1] - offsets[k], MOST_BYTES))
    text = np.full(longest + 4 * _MARGIN, _NEWLINE, np.uint8)
    scratch = np.zeros(longest + 4 * _MARGIN, np.uint8)
    hashes = np.empty(longest // 2 + 2, np.uint64)
    ends = np.zeros(longest // 2 + 2, np.int64)
    places = np.empty((2, longest // 2 + 2), np.int32)
    slots = mask_for(longest + 2) + 1
    table = (
        np.empty(slots, np.uint64),
        np.zeros(slots, np.int64),
        np.empty(slots, np.int32),
        np.empty(slots, np.int32),
    )
    for k in range(len(offsets) - 1):
        start, n = offsets[k], min(offsets[k + 1] - offsets[k], MOST_BYTES)
        while start + n < offsets[k + 1] and (data[start + n] & 0xC0) == 0x80:
            n -= 1  # cut between characters
        text[_MARGIN : _MARGIN + n] = data[start : start + n]
        text[_MARGIN + n : 3 * _MARGIN + n] = _NEWLINE
        mark, t = (k + 1) * QUESTIONS, counts[k]
        words = _count_text(text, n, classes, mark, hashes, ends, scratch, table, t)
        count_grams(hashes, ends, words, mark, table, places[0], places[1], t)


@compiled
def _count_text(
    text: Any, n: int, classes: Any, mark: int, hashes: Any, ends: Any, scratch: Any, table: Any,
    t: Any,
) -> int:  # fmt: skip
    """Count a text of `n` bytes into `t`, all but its runs of words; returns its words."""
    start, end = _MARGIN, _MARGIN + n
    for i in range(start, end, LANES):
        t[Count.NEWLINES] += ones(equal(text, i, _NEWLINE))
    t[Count.NEWLINES] -= -n % LANES  # those of the margin
    mask = mask_for(t[Count.NEWLINES] + 2)
    first, last = end, start  # the text without white space around it
    words = chars = hash_signs = dots = kind = 0
    word_at, word_chars, word_kinds = -1, 0, 0
    line_at, line_first, line_words, longest_word, head = start, -1, 0, 0, 0
    row_at, row_chars = start, 0
    at = start
    while at <= end:  # the newline after the end closes what is open, and is not counted
        point, width = code_point(text, at)
        earlier, kind = kind, classes[point]
        if kind & SPACE:
            dots = 0
            if word_at >= 0:
                hashes[words] = hash_bytes(text, word_at, at)
                ends[words + 1] = ends[words] + word_chars
                _count_word(text, word_at, at, word_chars, word_kinds, t)
                words, word_at, last = words + 1, -1, at
                line_words, longest_word = line_words + 1, max(longest_word, word_chars)
            if point == _NEWLINE:
                if at > row_at or at in (start, end):
                    is_full = row_at < last
                    _count_row(row_chars, earlier, is_full, t)
                    count_row(text, row_at, at, row_chars, is_full, mark, mask, table, t)
                row_at, row_chars = at + 1, -1
            if kind & BREAK:
                after_return = point == _NEWLINE and text[at - 1] == _RETURN
                t[Count.LINES] += not (after_return or (at == end and line_at == end))
                if line_first >= 0:
                    _count_full_line(text, line_first, last, head, t)
                    count_line(text, line_first, last, line_words, longest_word, scratch, t)
                line_at, line_first, line_words, longest_word = at + width, -1, 0, 0
        else:
            if word_at < 0:
                word_at, word_chars, word_kinds, first = at, 0, 0, min(first, at)
                if line_first < 0:
                    line_first, head = at, point
            word_chars, word_kinds = word_chars + 1, word_kinds | kind
            hash_signs += point == _HASH
            dots = dots + 1 if point == _DOT else 0
            if dots == 3 or point == _ELLIPSIS:
                t[Count.ELLIPSES] += 1
                dots = 0
        chars, row_chars, at = chars + 1, row_chars + 1, at + width
    t[Count.CHARS], t[Count.WORDS], t[Count.HASHES] = chars - 1, words, hash_signs
    t[Count.STOP_WORDS] = ones(np.uint64(t[Count.STOP_WORDS]))
    count_paragraphs(text, first, last, mark + 1, table, t)
    return words


@compiled
def _count_word(text: Any, at: int, end: int, chars: int, kinds: int, t: Any) -> None:
    """Count a word by the classes of its characters."""
    t[Count.LETTER_WORDS] += (kinds & LETTER) != 0
    if kinds & NO_PUNCTUATION:
        t[Count.PLAIN_WORDS] += 1
        t[Count.PLAIN_WORD_CHARS] += chars
    if end - at <= _LONGEST_STOP_WORD:
        word, met = eight_bytes(text, at) & KEPT_BYTES[end - at], np.int64(0)
        for k in range(len(_STOP_WORDS)):
            met |= np.int64(word == _STOP_WORDS[k]) << k
        t[Count.STOP_WORDS] |= met


@compiled
def _count_row(chars: int, last_kind: int, is_full: bool, t: Any) -> None:
    """Count a row that holds more than white space by its length and its last character."""
    t[Count.FULL_ROWS] += is_full
    t[Count.ENDED_ROWS] += is_full and (last_kind & END_MARK) != 0
    t[Count.SHORT_ROWS] += is_full and chars <= SHORT_ROW_CHARS


@compiled
def _count_full_line(text: Any, at: int, end: int, head: int, t: Any) -> None:
    """Count a line that is not blank, by its first character and its last ones."""
    t[Count.FULL_LINES] += 1
    t[Count.BULLET_LINES] += head in (_BULLET, _DASH)
    dots = end - at >= 3 and text[end - 1] == _DOT and text[end - 2] == _DOT
    dots = dots and text[end - 3] == _DOT
    single = text[end - 3] == 0xE2 and text[end - 2] == 0x80 and text[end - 1] == 0xA6
    t[Count.ELLIPSIS_LINES] += dots or single
