"""Program text as tokens that survive renaming and reformatting, compiled.

White space, comments, docstrings and round brackets, which formatters add and remove, are dropped;
a string is one token and a number another; keywords, builtins and what follows a dot keep their
names. Any other name is told only by how far back it stood last (0 where it is new within the run),
so two runs of tokens have the same hash exactly when one can be renamed into the other. Any text
can be read so; prose gives nonsense that matches nothing.

What it costs: about 10 ns a byte.
Source: Baker, "Parameterized Pattern Matching" (1996), for names as distances; Schleimer et al.,
"Winnowing: Local Algorithms for Document Fingerprinting" (2003), for k-grams and their choice.
"""

from __future__ import annotations

import builtins
import functools
import keyword
from typing import Any

import numpy as np

from classifiers.arrow_text import compiled

RUN_TOKENS = 8
WINDOW_RUNS = 4  # any RUN_TOKENS + WINDOW_RUNS - 1 shared tokens share a chosen run
_NAME = np.uint64(0x100000001B3)
_SEED = np.uint64(0xCBF29CE484222325)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0xD6E8FEB86659FD93)
_STRING, _NUMBER, _BACK = np.uint64(257), np.uint64(258), np.uint64(1_000_003)
_OPEN, _CLOSE = np.uint64(40), np.uint64(41)
_0, _1, _29, _32 = np.uint64(0), np.uint64(1), np.uint64(29), np.uint64(32)
_KEPT_SLOTS = 1_024
_SPACE, _NEWLINE, _COMMENT, _QUOTE, _DIGIT, _LETTER, _SIGN = range(7)


def _classes() -> Any:
    kinds = np.full(256, _SIGN, np.uint8)
    for byte in range(256):
        char = chr(byte)
        if byte >= 128 or char.isalpha() or char == "_":
            kinds[byte] = _LETTER
        elif char.isdigit():
            kinds[byte] = _DIGIT
    kinds[[9, 11, 12, 13, 32, 92]] = _SPACE  # a backslash joins lines
    kinds[10], kinds[ord("#")] = _NEWLINE, _COMMENT
    kinds[[ord("'"), ord('"')]] = _QUOTE
    return kinds


_CLASS = _classes()


@functools.cache
def kept_names() -> Any:
    """uint64[slots]: the hashes of names that are not anybody's to choose."""
    slots = np.zeros(_KEPT_SLOTS, np.uint64)
    for name in sorted({*keyword.kwlist, *dir(builtins)}):
        h = int(_SEED)
        for byte in name.encode():
            h = ((h ^ byte) * int(_NAME)) & 0xFFFFFFFFFFFFFFFF
        at = h % _KEPT_SLOTS
        while slots[at]:
            at = (at + 1) % _KEPT_SLOTS
        slots[at] = h
    return slots


@compiled
def _is_kept(h: Any, kept: Any) -> bool:
    at = h & np.uint64(_KEPT_SLOTS - 1)
    while kept[at]:
        if kept[at] == h:
            return True
        at = (at + _1) & np.uint64(_KEPT_SLOTS - 1)
    return False


@compiled
def _string_end(data: Any, i: int, end: int) -> int:
    """Where the string that begins at i ends; a plain one ends with its line at the latest."""
    quote = data[i]
    if i + 2 < end and data[i + 1] == quote and data[i + 2] == quote:
        i += 3
        while i < end:
            if data[i] == 92:
                i += 1
            elif data[i] == quote and i + 2 < end and data[i + 1] == quote and data[i + 2] == quote:
                return i + 3
            i += 1
        return end
    i += 1
    while i < end and data[i] != 10:
        if data[i] == quote:
            return i + 1
        i += 2 if data[i] == 92 else 1
    return min(i, end)


@compiled
def read_tokens(  # noqa: PLR0912  # one loop over bytes
    data: Any, first: int, end: int, kept: Any, codes: Any, back: Any, places: Any,
    names: Any, last_at: Any, marks: Any, mark: int,
) -> int:  # fmt: skip
    """Write each token's code, the token where its name stood last (-1 new, -2 no name), its byte.

    `names`, `last_at` and `marks` are a hash table of a power of two slots, at least twice the
    tokens; `mark` tells documents apart. Returns how many tokens there are.
    """
    n, i, line_start = 0, first, True
    while i < end:
        kind, at = _CLASS[data[i]], i
        if kind == _SPACE:
            i += 1
            continue
        if kind == _NEWLINE:
            i, line_start = i + 1, True
            continue
        if kind == _COMMENT:
            while i < end and data[i] != 10:
                i += 1
            continue
        begins, line_start = line_start, False
        h, chosen = np.uint64(data[i]), False
        if kind == _LETTER:
            h = _SEED
            while i < end and (_CLASS[data[i]] == _LETTER or _CLASS[data[i]] == _DIGIT):
                h = (h ^ np.uint64(data[i])) * _NAME
                i += 1
            if i < end and i - at <= 2 and _CLASS[data[i]] == _QUOTE and _is_prefix(data, at, i):
                kind = _QUOTE
            else:
                chosen = not (_is_kept(h, kept) or (n > 0 and codes[n - 1] == 46))
        elif kind == _DIGIT:
            while i < end and (_CLASS[data[i]] == _LETTER or _CLASS[data[i]] == _DIGIT
                               or data[i] == 46):  # fmt: skip
                i += 1
            h = _NUMBER
        elif kind == _SIGN:
            i += 1
            if h in (_OPEN, _CLOSE):
                continue
        if kind == _QUOTE:
            i = _string_end(data, i, end)
            if begins and (n == 0 or codes[n - 1] == 58):
                continue  # a docstring
            h = _STRING
        codes[n], back[n], places[n] = h, -2, at
        if chosen:
            codes[n] = _0
            slot = np.int64((h ^ (h >> _29)) & np.uint64(len(names) - 1))
            while marks[slot] == mark and names[slot] != h:
                slot = (slot + 1) & (len(names) - 1)
            back[n] = last_at[slot] if marks[slot] == mark else -1
            marks[slot], names[slot], last_at[slot] = mark, h, n
        n += 1
    return n


@compiled
def _is_prefix(data: Any, first: int, end: int) -> bool:
    """Whether the letters are of the kinds r, b, u, f."""
    for i in range(first, end):
        low = data[i] | 32
        if low not in (114, 98, 117, 102):
            return False
    return True


@compiled
def token_run_hash(codes: Any, back: Any, first: int, count: int) -> Any:
    """uint64: the hash of a run, the same for every consistent renaming of it."""
    h = _SEED
    for t in range(first, first + count):
        code = codes[t]
        if back[t] > -2:
            code = _BACK + np.uint64(t - back[t] if back[t] >= first else 0)
        h = h * _BASE + code
    h = (h ^ (h >> _32)) * _MIX
    return h ^ (h >> _29)


@compiled
def _hash_runs(codes: Any, back: Any, found: Any) -> None:
    for i in range(len(found)):
        found[i] = token_run_hash(codes, back, i, RUN_TOKENS)


def tokens_of(text: str) -> tuple[Any, Any, Any]:
    """(codes, where each name stood last, bytes) of one text's tokens."""
    data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    room = len(data) + 1
    slots = 1 << (2 * room).bit_length()
    codes, back = np.zeros(room, np.uint64), np.zeros(room, np.int32)
    places = np.zeros(room, np.int64)
    n = read_tokens(
        data, 0, len(data), kept_names(), codes, back, places,
        np.zeros(slots, np.uint64), np.zeros(slots, np.int32), np.zeros(slots, np.int32), 1,
    )  # fmt: skip
    return codes[:n], back[:n], places[:n]


def run_hashes(text: str) -> Any:
    """uint64[runs]: the hashes of all runs of RUN_TOKENS tokens."""
    codes, back, _ = tokens_of(text)
    found = np.zeros(max(0, len(codes) - RUN_TOKENS + 1), np.uint64)
    _hash_runs(codes, back, found)
    return found


def winnow(hashes: Any) -> Any:
    """The least hash of every WINDOW_RUNS successive ones, each place once."""
    if len(hashes) <= WINDOW_RUNS:
        return np.unique(hashes)
    windows = np.lib.stride_tricks.sliding_window_view(hashes, WINDOW_RUNS)
    return np.unique(windows.min(axis=1))
