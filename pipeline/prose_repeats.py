"""What a text repeats: rows, paragraphs and runs of words, as Gopher counts them.

Rows, paragraphs and words are hashed to 64 bits and compared by their hashes alone: among the
10,000 of a long document, two different ones are taken for the same in one of 10**11 documents.
One open hash table serves every question: an entry counts only under the mark of the question
that wrote it, so nothing is ever cleared, and a short text uses a short part of the table.

Source: Rae et al., "Scaling Language Models: Gopher" (arXiv 2112.11446), table A1; the ways of
counting are those of datatrove's GopherRepetitionFilter (find_duplicates, find_top_duplicate,
find_all_duplicate), with one difference: it joins the words of a run of 5 to 10 without blanks,
so that "a bc" repeats "ab c"; here it does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled
from classifiers.byte_masks import eight_bytes
from pipeline.prose_counts import Count

QUESTIONS = 16  # marks that one document may use
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, as in Knuth's hashing
_32 = np.uint64(32)
KEPT_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_NEWLINE = 10


@compiled
def hash_bytes(text: Any, at: int, end: int) -> Any:
    """uint64 of a stretch of bytes; eight more must lie behind it."""
    hashed = np.uint64(end - at) * _GOLDEN
    while at < end:
        part = eight_bytes(text, at) & KEPT_BYTES[min(end - at, 8)]
        hashed = ((hashed >> _32) ^ hashed ^ part) * _GOLDEN
        at += 8
    return ((hashed >> _32) ^ hashed) * _GOLDEN


@compiled
def count_row(
    text: Any,
    at: int,
    end: int,
    chars: int,
    is_full: bool,
    mark: int,
    mask: int,
    table: Any,
    t: Any,
) -> None:
    """Count what stands between newlines, if an earlier row equals it."""
    t[Count.ROWS] += 1
    if _meet(hash_bytes(text, at, end), at, mark, mask, table) > 1:
        t[Count.REPEATED_ROWS] += 1
        t[Count.REPEATED_ROW_CHARS] += chars
        t[Count.REPEATED_FULL_ROWS] += is_full
        t[Count.REPEATED_FULL_ROW_CHARS] += chars if is_full else 0


@compiled
def count_paragraphs(text: Any, start: int, end: int, mark: int, table: Any, t: Any) -> None:
    """Paragraphs that an earlier one equals, in a text without white space around it."""
    mask = mask_for(t[Count.NEWLINES] + 2)
    at, paragraphs = start, 0
    for i in range(start, end + 1):
        if i < at or (i < end and not (text[i] == _NEWLINE and text[i + 1] == _NEWLINE)):
            continue
        paragraphs += 1
        if _meet(hash_bytes(text, at, i), paragraphs, mark, mask, table) > 1:
            t[Count.REPEATED_PARAGRAPHS] += 1
            t[Count.REPEATED_PARAGRAPH_CHARS] += _chars(text, at, i)
        at = i
        while at < end and text[at] == _NEWLINE:
            at += 1
    t[Count.PARAGRAPHS] = paragraphs


@compiled
def count_grams(
    hashes: Any, ends: Any, words: int, mark: int, table: Any, places: Any, slots: Any, t: Any
) -> None:
    """The characters of the most frequent runs of 2 to 4 words, and of repeated ones of 5 to 10.

    `hashes` are of the words; `ends` says how many characters all words before each one have;
    `places` and `slots` have room for a number per word. A run can come twice only where the two
    shorter ones within it do: so a text is read whole for pairs, and then only where they repeat.
    """
    count = max(words - 1, 0)
    for i in range(count):
        places[i] = i
    for n in range(2, 5):
        chars, count = _top_chars(hashes, ends, n, mark + n, table, places, slots, count, words)
        t[Count.TOP_2_GRAM_CHARS + n - 2] = chars
    _measure_streaks(places, slots, count)
    for n in range(5, 11):
        repeated = _repeated_chars(hashes, ends, n, mark + n, table, places, slots, count)
        t[Count.REPEATED_5_GRAM_CHARS + n - 5] = repeated
        if repeated == 0:
            return  # no run of n words comes twice, so no longer one does


@compiled
def _top_chars(
    hashes: Any, ends: Any, n: int, mark: int, table: Any, places: Any, slots: Any, count: int,
    words: int,
) -> tuple[int, int]:  # fmt: skip
    """Characters of the most frequent run, blanks within it too, times how often it comes.

    The earliest of equally frequent runs counts, as in `Counter.most_common`. Only the `count`
    places are looked at; left in `places` are those where a run of one word more may repeat, or,
    after runs of four, those that repeat themselves.
    """
    if words < n:
        return 0, 0
    mask, most, first = mask_for(count), 1, 0
    _, _, counts, firsts = table
    for j in range(count):
        hashed = _gram(hashes, places[j], n)
        slots[j] = _slot(hashed, mark, mask, table)
        met = _meet_at(slots[j], hashed, places[j], mark, table)
        if met > most or (met == most > 1 and firsts[slots[j]] < first):
            most, first = met, firsts[slots[j]]
    left = 0
    for j in range(count):
        if counts[slots[j]] > 1:
            places[left] = places[j]
            left += 1
    if n < 4:
        left = _thin_out(places, left)
    return most * (ends[first + n] - ends[first] + n - 1), left


@compiled
def _thin_out(places: Any, count: int) -> int:
    """Keep the places whose next place is kept too; returns how many."""
    left = 0
    for j in range(count - 1):
        if places[j + 1] == places[j] + 1:
            places[left] = places[j]
            left += 1
    return left


@compiled
def _measure_streaks(places: Any, streaks: Any, count: int) -> None:
    """How many places follow each other from each one on."""
    for j in range(count - 1, -1, -1):
        follows = j + 1 < count and places[j + 1] == places[j] + 1
        streaks[j] = 1 + (streaks[j + 1] if follows else 0)


@compiled
def _repeated_chars(
    hashes: Any, ends: Any, n: int, mark: int, table: Any, places: Any, streaks: Any, count: int
) -> int:
    """Characters of the runs met before; a repeated run is stepped over whole.

    `places` are those of repeated runs of four words: a longer one repeats only within a streak.
    """
    mask, repeated, past = mask_for(count), 0, 0
    for j in range(count):
        at = places[j]
        if streaks[j] < n - 3 or at < past:
            continue
        if _meet(_gram(hashes, at, n), at, mark, mask, table) > 1:
            repeated += ends[at + n] - ends[at]
            past = at + n
    return repeated


@compiled
def _gram(hashes: Any, at: int, n: int) -> Any:
    hashed = hashes[at]
    for k in range(at + 1, at + n):
        hashed = ((hashed >> _32) ^ hashed ^ hashes[k]) * _GOLDEN
    return ((hashed >> _32) ^ hashed) * _GOLDEN


@compiled
def _meet(hashed: Any, number: int, mark: int, mask: int, table: Any) -> Any:
    """How often this was met under this mark, now included; `number` is kept of the first."""
    return _meet_at(_slot(hashed, mark, mask, table), hashed, number, mark, table)


@compiled
def _slot(hashed: Any, mark: int, mask: int, table: Any) -> Any:
    """int64: where this stands in the table, or would."""
    keys, marks, _, _ = table
    slot = np.int64(hashed >> _32) & mask
    while marks[slot] == mark and keys[slot] != hashed:
        slot = (slot + 1) & mask
    return slot


@compiled
def _meet_at(slot: int, hashed: Any, number: int, mark: int, table: Any) -> Any:
    keys, marks, counts, firsts = table
    if marks[slot] != mark:
        keys[slot], marks[slot], counts[slot], firsts[slot] = hashed, mark, 0, number
    counts[slot] += 1
    return counts[slot]


@compiled
def mask_for(entries: int) -> int:
    """Of a table at most half full."""
    slots = 16
    while slots < 2 * entries:
        slots *= 2
    return slots - 1


@compiled
def _chars(text: Any, at: int, end: int) -> int:
    """Code points: bytes that do not continue one."""
    chars = 0
    for i in range(at, end):
        chars += (text[i] & 0xC0) != 0x80
    return chars
