"""The loops of `pipeline.pii_marks`, as machine code.

Only digits, colons, at signs and the ends of tokens are looked at one by one; 64 bytes at a time
say where they are (`classifiers.byte_masks`). A literal is compared where its first two bytes fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.arrow_text import compiled
from classifiers.byte_masks import LANES, between, equal, lowest
from pipeline.pii_marks import (
    AT,
    CAPITALS,
    CAPITALS_BYTES,
    COLONS,
    DIGITS,
    DOTS,
    FIRST_LITERAL,
    JOINED,
    LEAST_DIGITS,
    LONG,
    LONG_BYTES,
    VALUE,
    VALUE_BYTES,
)

_DIGIT, _UPPER, _LOWER, _TOKEN, _GAP, _HEX, _OPENER = (np.uint8(1 << bit) for bit in range(7))
_MOST_GAP_BYTES = 9  # three characters of three bytes
_SPACE, _DASH, _DOT, _COLON, _AT = 32, 45, 46, 58, 64
_AT_MARK, _DIGITS, _DOTS, _COLONS = (np.uint64(m) for m in (AT, DIGITS, DOTS, COLONS))
_CAPITALS, _LONG, _VALUE, _JOINED = (np.uint64(m) for m in (CAPITALS, LONG, VALUE, JOINED))
_0, _1, _FIRST = np.uint64(0), np.uint64(1), np.uint64(FIRST_LITERAL)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def _byte_classes() -> npt.NDArray[np.uint8]:
    """uint8[256]: what each byte may be part of; a byte beyond ASCII may part digits."""
    classes = np.zeros(256, np.uint8)
    for members, kind in (
        (b"0123456789", _DIGIT | _TOKEN | _HEX),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", _UPPER | _TOKEN),
        (b"abcdefghijklmnopqrstuvwxyz", _LOWER | _TOKEN),
        (b"abcdefABCDEF", _HEX),
        (b"_+/-", _TOKEN),
        (b" \t.-()/+" + bytes(range(128, 256)), _GAP),
        (b"\"'`=:", _OPENER),
    ):
        classes[list(members)] |= kind
    return classes


_CLASSES = _byte_classes()


@compiled
def mark_texts(data: Any, offsets: Any, pairs: Any, lengths: Any, letters: Any) -> Any:
    """uint64[N]: the marks of N texts; see `pipeline.pii_marks` for the tables of literals."""
    marks = np.zeros(len(offsets) - 1, np.uint64)
    for text in range(len(marks)):
        begin, end = offsets[text], offsets[text + 1]
        mark = _numbers(data, begin, end) | _tokens(data, begin, end)
        for i in range(begin, end - 1):
            if pairs[(np.int64(data[i]) << 8) | data[i + 1]]:
                mark |= _literals(data, i, end, lengths, letters)
        marks[text] = mark
    return marks


@compiled
def _inside(i: int, end: int) -> Any:
    """The bits of the bytes from `i` on that lie before `end`."""
    return _ALL if end - i >= LANES else (_1 << np.uint64(end - i)) - _1


@compiled
def _numerals(data: Any, i: int, end: int) -> Any:
    """uint64: which bytes from `i` on are digits, colons or at signs."""
    if i + LANES <= len(data):  # of this text or the next
        found = between(data, i, 48, _COLON) | equal(data, i, _AT)
        return found & _inside(i, end)
    bits = _0
    for k in range(end - i):
        if 48 <= data[i + k] <= _COLON or data[i + k] == _AT:
            bits |= _1 << np.uint64(k)
    return bits


@compiled
def _breaks(data: Any, i: int, end: int) -> Any:
    """uint64: which bytes from `i` on are not of a token."""
    if i + LANES <= len(data):
        token = between(data, i, 97, 122) | between(data, i, 65, 90) | between(data, i, 47, 57)
        token |= equal(data, i, 95) | equal(data, i, 43) | equal(data, i, _DASH)
        return ~token & _inside(i, end)
    bits = _0
    for k in range(end - i):
        if not _CLASSES[data[i + k]] & _TOKEN:
            bits |= _1 << np.uint64(k)
    return bits


@compiled
def _numbers(data: Any, begin: int, end: int) -> Any:
    """The marks of at signs, digits and addresses."""
    marks = _0
    digits, dotted, last = 0, 0, -LANES  # `last` is where the last digit stands
    for block in range(begin, end, LANES):
        bits = _numerals(data, block, end)
        while bits:
            i = block + lowest(bits)
            bits &= bits - _1
            if data[i] == _AT:
                marks |= _AT_MARK
            elif data[i] == _COLON:
                marks |= _address(data, begin, i)
            else:
                if last != i - 1:
                    digits = digits if _is_gap(data, last, i) else 0
                    dotted = dotted + 1 if last == i - 2 and data[i - 1] == _DOT else 0
                elif not marks & _CAPITALS:
                    marks |= _capitals(data, begin, i, end)
                digits, last = digits + 1, i
                if digits >= LEAST_DIGITS:
                    marks |= _DIGITS
                if dotted >= 3:
                    marks |= _DOTS
    return marks


@compiled
def _is_gap(data: Any, last: int, i: int) -> bool:
    """Whether the bytes between two digits may part digits of one number."""
    if i - last > _MOST_GAP_BYTES + 1:
        return False
    gaps = 0
    for k in range(last + 1, i):
        gaps += _CLASSES[data[k]] & _GAP != 0
    return gaps == i - last - 1


@compiled
def _address(data: Any, begin: int, i: int) -> Any:
    """The mark, where the colon at `i` ends the first group of a public IPv6 address (2000::/3)."""
    if i - 4 < begin or not (data[i - 4] == 50 or data[i - 4] == 51):
        return _0
    for k in range(i - 3, i):
        if not _CLASSES[data[k]] & _HEX:
            return _0
    return _COLONS


@compiled
def _tokens(data: Any, begin: int, end: int) -> Any:
    """The marks of what may be a key."""
    marks, token = _0, begin
    for block in range(begin, end, LANES):
        bits = _breaks(data, block, end)
        while bits:
            i = block + lowest(bits)
            bits &= bits - _1
            if i - token >= VALUE_BYTES:
                marks |= _token(data, begin, token, i)
            token = i + 1
    return marks | _token(data, begin, token, end) if end - token >= VALUE_BYTES else marks


@compiled
def _token(data: Any, begin: int, token: int, end: int) -> Any:
    """The marks of one token of at least VALUE_BYTES."""
    kinds = np.uint8(0)
    for i in range(token, end):
        kinds |= _CLASSES[data[i]]
    if not kinds & (_UPPER | _LOWER):
        return _0
    marks = _0
    if end - token >= LONG_BYTES:
        marks |= _LONG
        if token > begin and data[token - 1] == _DOT:
            marks |= _JOINED
    if kinds & _DIGIT and _is_opened(data, begin, token):
        marks |= _VALUE
    return marks


@compiled
def _is_opened(data: Any, begin: int, i: int) -> bool:
    """Whether a quote, = or : stands before `i`, at most three blanks away."""
    before = i - 1
    while before >= begin and data[before] == _SPACE and i - before <= 3:
        before -= 1
    return before >= begin and _CLASSES[data[before]] & _OPENER != 0


@compiled
def _capitals(data: Any, begin: int, i: int, end: int) -> Any:
    """The mark, where two letters and two digits end at `i` and the run is long enough."""
    if not (
        _CLASSES[data[i - 1]] & _DIGIT
        and _CLASSES[data[i - 2]] & _UPPER
        and _CLASSES[data[i - 3]] & _UPPER
    ):
        return _0
    low, high = _walk(data, begin, i, -1, end), _walk(data, begin, i, 1, end)
    return _CAPITALS if low + high - 1 >= CAPITALS_BYTES else _0


@compiled
def _walk(data: Any, begin: int, i: int, step: int, end: int) -> int:
    """How many capitals and digits follow each other from `i` on, with single gaps."""
    found, gap = 0, 0
    while begin <= i < end and gap < 2 and found < CAPITALS_BYTES:
        if _CLASSES[data[i]] & (_UPPER | _DIGIT):
            found, gap = found + 1, 0
        elif data[i] == _SPACE or data[i] == _DASH:
            gap += 1
        else:
            break
        i += step
    return found


@compiled
def _literals(data: Any, i: int, end: int, lengths: Any, letters: Any) -> Any:
    """The marks of the literals that begin at `i`."""
    marks = _0
    for row in range(len(lengths)):
        at = 0
        if i + lengths[row] <= end:
            while at < lengths[row] and data[i + at] == letters[row, at]:
                at += 1
        if at == lengths[row]:
            marks |= _1 << (_FIRST + np.uint64(row))
    return marks
