"""What C4 would make of a line, without cutting it.

C4 keeps a line that ends in . ? ! " or ' (but not in "..."), has three words or more, none of
over 1,000 characters, and speaks neither of JavaScript nor of cookies and terms of use; it drops
a page where a line so kept holds "lorem ipsum" or a curly bracket, or where fewer than five
sentences are left. Here nothing is cut: lines of each kind are counted, and the sentences of
those that C4 keeps. Marks of citation, such as [3] or [edit], are looked through as C4 does.

A sentence ends at . ? or ! and whatever quotes and brackets close there, before white space. C4
uses NLTK's punkt, which knows abbreviations and must be downloaded.

Source: Raffel et al. (arXiv 1910.10683), section 2.2, as in datatrove's C4QualityFilter. Upper
and lower case are the same in ASCII only: all phrases are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled
from classifiers.byte_masks import eight_bytes
from pipeline.prose_counts import Count

MIN_WORDS, MAX_WORD_CHARS = 3, 1_000
_PHRASES = (
    "lorem ipsum", "javascript", "terms of use", "privacy policy", "cookie policy",
    "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
_LOREM, _JAVASCRIPT, _POLICY, _CURLY, _LONGEST = 1, 2, 4, 8, max(map(len, _PHRASES))
_MEANS = np.array([_LOREM, _JAVASCRIPT] + [_POLICY] * 6, np.int64)
_LENGTHS = np.array([len(p) for p in _PHRASES], np.int64)
_BYTES = np.array([list(p.ljust(_LONGEST).encode()) for p in _PHRASES], np.uint8)
_FIRST_EIGHT = np.array([int.from_bytes(p[:8].encode(), "little") for p in _PHRASES], np.uint64)
_LOWER_CASE = np.uint64(0x2020202020202020)
_BEGINS = np.zeros(256, np.bool_)
_BEGINS[[ord(c) for p in _PHRASES for c in (p[0], p[0].upper())]] = True
_ENDS = np.zeros(256, np.bool_)
_ENDS[[ord(c) for c in ".?!\"'"]] = True
_STOPS = np.zeros(256, np.bool_)
_STOPS[[ord(c) for c in ".?!"]] = True
_CLOSES = np.zeros(256, np.bool_)
_CLOSES[[ord(c) for c in "\"')]"]] = True
_OPEN_BRACKET, _CLOSED_BRACKET, _OPEN_CURLY, _DOT = ord("["), ord("]"), ord("{"), ord(".")
_CITATIONS = (np.array(list(b"[edit]"), np.uint8), np.array(list(b"[citation needed]"), np.uint8))


@compiled
def count_line(
    text: Any, at: int, end: int, words: int, longest_word: int, scratch: Any, t: Any
) -> None:
    """Count a full line, without the white space around it, by what C4 would do with it."""
    for i in range(at, end):
        if text[i] == _OPEN_BRACKET:
            length = _without_citations(text, at, end, scratch)
            _count(scratch, 0, length, words, longest_word, t)
            return
    _count(text, at, end, words, longest_word, t)


@compiled
def _count(text: Any, at: int, end: int, words: int, longest_word: int, t: Any) -> None:
    dots = end - at >= 3 and text[end - 1] == _DOT and text[end - 2] == _DOT
    dots = dots and text[end - 3] == _DOT
    is_open = end == at or not _ENDS[text[end - 1]] or dots
    said, sentences = _read(text, at, end)
    t[Count.OPEN_LINES] += is_open
    t[Count.FEW_WORD_LINES] += words < MIN_WORDS
    t[Count.LONG_WORD_LINES] += longest_word > MAX_WORD_CHARS
    t[Count.JAVASCRIPT_LINES] += (said & _JAVASCRIPT) != 0
    t[Count.POLICY_LINES] += (said & _POLICY) != 0
    if is_open or words < MIN_WORDS or longest_word > MAX_WORD_CHARS:
        return
    if said & _LOREM:
        t[Count.LOREM_LINES] += 1
    elif not said & _JAVASCRIPT:
        if said & _CURLY:
            t[Count.CURLY_LINES] += 1
        elif not said & _POLICY:
            t[Count.SENTENCES] += sentences


@compiled
def _read(text: Any, at: int, end: int) -> tuple[int, int]:
    """What the line speaks of, as bits, and its sentences."""
    said, sentences = 0, 1
    for i in range(at, end):
        byte = text[i]
        if _BEGINS[byte]:
            said |= _phrase(text, i, end)
        elif _STOPS[byte]:
            after = i + 1
            while after < end and _CLOSES[text[after]]:
                after += 1
            sentences += after < end and (text[after] == 32 or text[after] == 9)
        elif byte == _OPEN_CURLY:
            said |= _CURLY
    return said, sentences


@compiled
def _phrase(text: Any, at: int, end: int) -> Any:
    """int64: what the phrase that begins here means, or 0."""
    eight = eight_bytes(text, at) | _LOWER_CASE
    for k in range(len(_FIRST_EIGHT)):
        if eight == _FIRST_EIGHT[k] and at + _LENGTHS[k] <= end:
            same = True
            for i in range(_LENGTHS[k]):
                byte = text[at + i]
                same &= (byte + 32 if 65 <= byte <= 90 else byte) == _BYTES[k, i]
            if same:
                return _MEANS[k]
    return 0


@compiled
def _without_citations(text: Any, at: int, end: int, scratch: Any) -> int:
    """Copy a line without its marks of citation; returns its length."""
    length = 0
    while at < end:
        past = _citation_end(text, at, end) if text[at] == _OPEN_BRACKET else at
        if past > at:
            at = past
        else:
            scratch[length] = text[at]
            length, at = length + 1, at + 1
    return length


@compiled
def _citation_end(text: Any, at: int, end: int) -> int:
    """Where the mark of citation that begins here ends; `at` where there is none."""
    i = at + 1
    while i < end and 48 <= text[i] <= 57:
        i += 1
    if i < end and text[i] == _CLOSED_BRACKET:
        return i + 1
    for mark in _CITATIONS:
        if at + len(mark) <= end:
            same = True
            for k in range(len(mark)):
                same &= text[at + k] == mark[k]
            if same:
                return at + len(mark)
    return at
