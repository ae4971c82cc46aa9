"""The loops of `pipeline.shingles`, as machine code: words, shingles, minima."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.arrow_text import compiled
from classifiers.byte_masks import LANES, between, eight_bytes, equal, lowest

_GOLDEN, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_ROLL = np.uint64(0xD6E8FEB86659FD93)
_SECOND = np.uint64(0x94D049BB133111EB)
_0, _1, _2, _29, _32, _63 = (np.uint64(n) for n in (0, 1, 2, 29, 32, 63))
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_HIGH_BITS = np.uint64(0x8080808080808080)
_KEPT_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_SPACE = 32

BETWEEN, INSIDE, ALONE, FOLDED, UNSEEN = range(5)  # what a code point is to words


@compiled
def sort_texts(data: Any, offsets: Any, kinds: Any) -> npt.NDArray[np.bool_]:
    """bool[N]: whether a text must be brought to NFKC and folded case before it is read."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for text in range(len(found)):
        i, end = offsets[text], offsets[text + 1]
        while i < end and not found[text]:
            if i + 8 <= end and not eight_bytes(data, i) & _HIGH_BITS:
                i += 8
            elif data[i] < 128:
                i += 1
            else:
                point, size = _decoded(data, i, end)
                found[text] = point < len(kinds) and kinds[point] == FOLDED
                i += size
    return found


@compiled
def read_texts(
    data: Any, offsets: Any, which: Any, rows: Any, kinds: Any, factors: Any, summands: Any,
    exact: Any, minima: Any, words: Any,
) -> None:  # fmt: skip
    """Read the texts `which` into these `rows` of the arrays of Sketches."""
    longest = 0
    for at in which:
        longest = max(longest, offsets[at + 1] - offsets[at])
    text = np.full(2 * longest + 3 * LANES, _SPACE, np.uint8)
    for k in range(len(which)):
        start, end, row = offsets[which[k]], offsets[which[k] + 1], rows[k]
        size = _spaced(data, start, end, kinds, text)
        text[size : size + 2 * LANES] = _SPACE
        words[row] = _read_text(text, size, factors, summands, exact[row], minima[row])
        if words[row] == 0:
            _read_bytes(data, start, end, factors, summands, exact[row], minima[row])


@compiled
def _spaced(data: Any, start: int, end: int, kinds: Any, text: Any) -> int:
    """Copy UTF-8 with a space for what lies between words and around words of one character."""
    i, out = start, 0
    while i < end:
        run = i
        while run + 8 <= end and not eight_bytes(data, run) & _HIGH_BITS:
            run += 8
        while run < end and data[run] < 128:
            run += 1
        text[out : out + run - i] = data[i:run]
        i, out = run, out + run - i
        if i < end:
            point, size = _decoded(data, i, end)
            kind = kinds[point] if point < len(kinds) else BETWEEN
            if kind in (BETWEEN, ALONE):
                text[out] = _SPACE
                out += 1
            if kind not in (BETWEEN, UNSEEN):
                for k in range(size):
                    text[out + k] = data[i + k]
                out += size
            if kind == ALONE:
                text[out] = _SPACE
                out += 1
            i += size
    return out


@compiled
def _decoded(data: Any, at: int, end: int) -> tuple[int, int]:
    """The code point of more than one byte that begins here, and its bytes."""
    lead = data[at]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    size = min(size, end - at)  # a character that is cut off must not lead out of the array
    point = np.int64(lead) & (0xFF >> (size + 1))
    for k in range(1, size):
        point = (point << 6) | (data[at + k] & 0x3F)
    return int(point), size


@compiled
def _read_text(text: Any, size: int, factors: Any, summands: Any, exact: Any, minima: Any) -> int:
    """Find the words, lower the minima by each shingle, hash them all; returns how many."""
    words, word_at, earlier = 0, -1, _0
    a = b = c = d = one = other = _0
    for i in range(0, size + 1, LANES):
        left = size - i
        inside = _ALL if left >= LANES else (_1 << np.uint64(left)) - _1
        letters = between(text, i, 97, 122) | between(text, i, 65, 90) | between(text, i, 48, 57)
        word = (letters | equal(text, i, 95) | between(text, i, 128, 255)) & inside
        edges = word ^ ((word << _1) | earlier)
        earlier = word >> _63
        while edges:
            at = i + lowest(edges)
            edges &= edges - _1
            if word_at < 0:
                word_at = at
                continue
            e = _word_hash(text, word_at, at - word_at)
            word_at = -1
            words += 1
            one = _mixed(one ^ e)
            other = (other + e) * _SECOND
            other ^= other >> _29
            if words >= 5:
                rolled = (((a * _ROLL + b) * _ROLL + c) * _ROLL + d) * _ROLL + e
                _lower(np.uint32(_mixed(rolled) >> _32), factors, summands, minima)
            a, b, c, d = b, c, d, e
    if 0 < words < 5:
        _lower(np.uint32(one >> _32), factors, summands, minima)
    exact[0], exact[1] = one, other
    return words


@compiled
def _word_hash(text: Any, at: int, length: int) -> Any:
    """64 bits, the same in upper and lower case of ASCII."""
    hashed = _0
    for more in range(0, length, 8):
        part = eight_bytes(text, at + more)
        part |= (~part & _HIGH_BITS) >> _2  # lower case, where a byte is ASCII
        hashed = _mixed(hashed ^ (part & _KEPT_BYTES[min(length - more, 8)]))
    return hashed


@compiled
def _mixed(value: Any) -> Any:
    value = value * _GOLDEN
    value = (value ^ (value >> _32)) * _MIX
    return value ^ (value >> _29)


@compiled
def _lower(shingle: Any, factors: Any, summands: Any, minima: Any) -> None:
    """The one loop that costs: 128 products a word, as vectors."""
    for k in range(len(minima)):
        value = np.uint32(shingle * factors[k] + summands[k])
        minima[k] = min(minima[k], value)


@compiled
def _read_bytes(
    data: Any, start: int, end: int, factors: Any, summands: Any, exact: Any, minima: Any
) -> None:
    """A text without words is one shingle: all of its bytes."""
    one, other = np.uint64(end - start), _SECOND
    for i in range(start, end):
        one = _mixed(one ^ np.uint64(data[i]))
        other = (other + np.uint64(data[i])) * _SECOND
        other ^= other >> _29
    exact[0], exact[1] = _mixed(one), other
    _lower(np.uint32(exact[0] >> _32), factors, summands, minima)
