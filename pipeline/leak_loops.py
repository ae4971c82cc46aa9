"""The compiled loops of the search by words: fold a document, roll hashes, look runs up.

A word's hash is a polynomial over its folded letters; a run's hash is the difference of two prefix
sums over word hashes, so runs of all lengths cost one multiplication each. Two words tell
which lengths of runs begin so at all (1 MiB of masks), and a bitmap of 2 MiB is asked before the
table: nearly every run of an innocent text ends at one of these.

Source: Karp and Rabin, "Efficient randomized pattern-matching algorithms" (1987).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled
from classifiers.byte_masks import lowest

_LETTER = np.uint64(0x100000001B3)
_SEED = np.uint64(0xCBF29CE484222325)
_MIX = np.uint64(0x9E3779B97F4A7C15)
BASE = np.uint64(0xD6E8FEB86659FD93)
_32, _29 = np.uint64(32), np.uint64(29)
BITMAP_BITS = 24
_SHIFT = np.uint64(64 - BITMAP_BITS)
PAIR_BITS = 17
_PAIR_SHIFT = np.uint64(64 - PAIR_BITS)
_0, _1, _6, _63 = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(63)


@compiled
def fold_document(  # noqa: PLR0912  # one loop over bytes
    data: Any, first: int, end: int, table: Any, starts: Any, codes: Any,
    hashes: Any, letters: Any, firsts: Any, lasts: Any,
) -> int:  # fmt: skip
    """Write the words of data[first:end] (UTF-8) to the last four arrays; returns how many."""
    found, h, open_at, last, i = 0, _SEED, -1, 0, first
    letter: Any = False
    alone: Any = False
    while i < end:
        code, size = np.int64(data[i]), 1
        if code >= 0xF0 and i + 3 < end:
            code, size = ((code & 7) << 18) | ((np.int64(data[i + 1]) & 63) << 12) | (
                (np.int64(data[i + 2]) & 63) << 6) | (np.int64(data[i + 3]) & 63), 4  # fmt: skip
        elif code >= 0xE0 and i + 2 < end:
            code, size = ((code & 15) << 12) | ((np.int64(data[i + 1]) & 63) << 6) | (
                np.int64(data[i + 2]) & 63), 3  # fmt: skip
        elif code >= 0xC0 and i + 1 < end:
            code, size = ((code & 31) << 6) | (np.int64(data[i + 1]) & 63), 2
        to = np.int64(table[code]) if code < len(table) else np.int64(-(1 << 30))
        if to > 0:
            if open_at < 0:
                open_at, h, letter = i, _SEED, False
            h = (h ^ np.uint64(to)) * _LETTER
            letter |= to > 57
            last = i + size
        elif to == 0 or to < -1:
            k, stop = 0, 0
            if to < -1 and code < len(table):
                k, stop = starts[-2 - to], starts[-1 - to]
            alone = to < -1 and code >= len(table)  # a word of one character
            while True:
                one = np.int64(codes[k]) if k < stop else np.int64(0)
                if one == 0:
                    if open_at >= 0:
                        hashes[found], letters[found] = (h ^ (h >> _29)) * _MIX, letter
                        firsts[found], lasts[found] = open_at, last
                        found, open_at = found + 1, -1
                    if alone:
                        open_at, h, letter, last = (
                            i,
                            (_SEED ^ np.uint64(code)) * _LETTER,
                            1,
                            i + size,
                        )
                        alone = False
                        continue
                else:
                    if open_at < 0:
                        open_at, h, letter = i, _SEED, False
                    h = (h ^ np.uint64(one)) * _LETTER
                    letter |= one > 57
                    last = i + size
                k += 1
                if k >= stop:
                    break
        i += size
    if open_at >= 0:
        hashes[found], letters[found] = (h ^ (h >> _29)) * _MIX, letter
        firsts[found], lasts[found] = open_at, last
        found += 1
    return found


@compiled
def most_words(data: Any, first: int, end: int) -> int:
    """Room for the words of data[first:end]: ㌖ gives six for its three bytes, and none more."""
    most = 8 + end - first
    for i in range(first, end):
        most += data[i] >= 0x80
    return most


@compiled
def prefix_sums(hashes: Any, count: int, sums: Any) -> None:
    """sums[i] is the polynomial over the first i word hashes."""
    sums[0] = _0
    for i in range(count):
        sums[i + 1] = sums[i] * BASE + hashes[i]


@compiled
def run_hash(sums: Any, first: int, words: int, powers: Any) -> Any:
    """uint64: the hash of `words` words from `first` on; the same words always give the same."""
    h = (sums[first + words] - sums[first] * powers[words]) ^ (np.uint64(words) * _LETTER)
    h = (h ^ (h >> _32)) * _MIX
    return h ^ (h >> _29)


@compiled
def hash_runs(sums: Any, firsts: Any, words: Any, powers: Any, out: Any) -> None:
    """out[i] is the hash of words[i] words from firsts[i] on."""
    for i in range(len(firsts)):
        out[i] = run_hash(sums, firsts[i], words[i], powers)


@compiled
def lettered_words(hashes: Any, letters: Any, first: int, words: int) -> int:
    """How many different words with a letter in them a run has."""
    count = 0
    for i in range(first, first + words):
        new = letters[i] != 0
        for k in range(first, i):
            new = new and hashes[k] != hashes[i]
        count += new
    return count


@compiled
def mark_telling(
    hashes: Any, letters: Any, firsts: Any, many: Any, grouped: Any, least: int, enough: Any
) -> None:
    """Mark the runs with enough different words; companions speak for the grouped ones."""
    for i in range(len(firsts)):
        wanted = min(least, many[i] // 2)
        enough[i] = grouped[i] or lettered_words(hashes, letters, firsts[i], many[i]) >= wanted


@compiled
def _pair(one: Any, other: Any) -> Any:
    return ((one * BASE) ^ other) * _MIX >> _PAIR_SHIFT


@compiled
def fill_pairs(hashes: Any, firsts: Any, many: Any, pairs: Any) -> None:
    """Set bit `words` - 1 of the mask of each run's first two words; runs have 2 to 64 words."""
    for i in range(len(firsts)):
        at = _pair(hashes[firsts[i]], hashes[firsts[i] + 1])
        pairs[at] |= _1 << np.uint64(many[i] - 1)


@compiled
def fill_table(keys: Any, slots: Any, bitmap: Any) -> None:
    """Put number i at the slot of keys[i] (all different); slots int32[power of two], -1 empty."""
    for i in range(len(keys)):
        bit = keys[i] >> _SHIFT
        bitmap[bit >> _6] |= _1 << (bit & _63)
        at = keys[i] & np.uint64(len(slots) - 1)
        while slots[at] >= 0:
            at = (at + _1) & np.uint64(len(slots) - 1)
        slots[at] = i


@compiled
def look_up(key: Any, keys: Any, slots: Any, bitmap: Any) -> int:
    """The number of a key, or -1."""
    bit = key >> _SHIFT
    if not (bitmap[bit >> _6] >> (bit & _63)) & _1:
        return -1
    at = key & np.uint64(len(slots) - 1)
    while slots[at] >= 0:
        if keys[slots[at]] == key:
            return int(slots[at])
        at = (at + _1) & np.uint64(len(slots) - 1)
    return -1


@compiled
def search_documents(
    data: Any, offsets: Any, table: Any, starts: Any, codes: Any,
    keys: Any, slots: Any, bitmap: Any, ends: Any, entries: Any, pairs: Any, powers: Any,
    reach: Any, group_ends: Any, other_keys: Any, other_words: Any, near: int, found: Any,
) -> int:  # fmt: skip
    """Write (document, entry, first byte, last byte, window's first byte, its last) of every run.

    `found` is int64[room, 6]; returns how many there are, which may be more than the room.
    """
    room, n = 8, 0
    for d in range(len(offsets) - 1):
        room = max(room, most_words(data, offsets[d], offsets[d + 1]))
    hashes, letters = np.empty(room, np.uint64), np.empty(room, np.uint8)
    firsts, lasts = np.empty(room, np.int64), np.empty(room, np.int64)
    sums = np.empty(room + 1, np.uint64)
    for d in range(len(offsets) - 1):
        words = fold_document(
            data, offsets[d], offsets[d + 1], table, starts, codes, hashes, letters, firsts, lasts
        )
        prefix_sums(hashes, words, sums)
        for i in range(words - 1):
            mask = pairs[_pair(hashes[i], hashes[i + 1])]
            while mask:
                length = lowest(mask) + 1
                mask &= mask - _1
                if i + length > words:
                    break
                key = look_up(run_hash(sums, i, length, powers), keys, slots, bitmap)
                if key < 0:
                    continue
                for entry in range(ends[key], ends[key + 1]):
                    unit = entries[entry, 0]
                    beside = near + reach[unit]
                    low, high = max(0, i - beside), min(words, i + length + beside)
                    if not _companions(
                        sums, low, high, group_ends[unit], group_ends[unit + 1],
                        other_keys, other_words, powers,
                    ):  # fmt: skip
                        continue
                    if n < len(found):
                        found[n, 0], found[n, 1] = d, entry
                        found[n, 2], found[n, 3] = firsts[i], lasts[i + length - 1]
                        found[n, 4], found[n, 5] = firsts[low], lasts[high - 1]
                    n += 1
    return n


@compiled
def _companions(
    sums: Any, low: int, high: int, first: int, last: int, keys: Any, words: Any, powers: Any
) -> bool:
    """Whether each of the texts stands whole between two words of a document."""
    for k in range(first, last):
        here = False
        for i in range(low, high - words[k] + 1):
            if run_hash(sums, i, words[k], powers) == keys[k]:
                here = True
                break
        if not here:
            return False
    return True
