"""What a text says, without its dress: folded words, for Python and for the compiled loop alike.

Each character is folded on its own: NFKD, case folding, marks and invisible characters dropped,
letters and digits kept, and everything else (white space, punctuation, quotes of any sort,
Markdown) parts words. Ideographs and kana are words of their own. As folding looks at one
character at a time, a table of it is all that machine code needs, and composed and decomposed
letters come out alike; the price is that "resume" and "résumé" are one word.

What it costs: 0.2 s once a process for the table, then about 2 ns a byte.
Source: Unicode Standard Annex 15 (normalisation forms).
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PARTS, DROPPED = 0, -1  # of the table; positive is a code point, -2 and below an expansion
TABLE_SIZE = 0x20000  # beyond are ideographs and private use: each a word of its own
_IDEOGRAPHS = ((0x3041, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))


@dataclass(frozen=True)
class Folding:
    """`table` int32[TABLE_SIZE]; expansion i is `codes[starts[i]:starts[i + 1]]`, 0 parts words."""

    table: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]


@functools.cache
def fold_char(char: str) -> str:
    """What a character becomes: letters and digits, with spaces where words part."""
    code = ord(char)
    if _is_word(char):
        return f" {char} "
    if 0xAC00 <= code <= 0xD7A3:  # Hangul syllables stay whole
        return char
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    return "".join(
        f" {c} "
        if _is_word(c)
        else c
        if c.isalnum()
        else ""
        if unicodedata.category(c) in {"Mn", "Me", "Cf"}
        else " "
        for c in folded
    )


def _is_word(char: str) -> bool:
    code = ord(char)
    return code >= TABLE_SIZE or any(low <= code <= high for low, high in _IDEOGRAPHS)


def fold_words(text: str) -> list[str]:
    """The folded words of a text."""
    return "".join(map(fold_char, text)).split()


def fold_spans(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The folded words of a text and where each stands in it, as (first, last + 1) characters."""
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    open_at, end, letters = -1, -1, ""
    for i, char in enumerate(text):
        for folded in fold_char(char):
            if folded == " ":
                if open_at >= 0:
                    words.append(letters)
                    spans.append((open_at, end))
                open_at, letters = -1, ""
            else:
                open_at = i if open_at < 0 else open_at
                letters, end = letters + folded, i + 1
    if open_at >= 0:
        words.append(letters)
        spans.append((open_at, end))
    return words, spans


@functools.cache
def folding() -> Folding:
    """The table of `fold_char` for all characters below TABLE_SIZE."""
    table = np.zeros(TABLE_SIZE, np.int32)
    starts, codes = [0], []
    for code in range(TABLE_SIZE):
        folded = fold_char(chr(code)) if not 0xD800 <= code < 0xE000 else " "
        if len(folded) == 1:
            table[code] = PARTS if folded == " " else ord(folded)
        elif not folded:
            table[code] = DROPPED
        else:
            table[code] = -1 - len(starts)
            codes += [PARTS if c == " " else ord(c) for c in folded]
            starts.append(len(codes))
    return Folding(table, np.array(starts, np.int32), np.array([*codes, 0], np.int32))


def word_arrays(data: bytes) -> tuple[Any, Any, Any, Any]:
    """(hashes, has a letter, first byte, last byte + 1) of each word of UTF-8 text."""
    from pipeline.leak_loops import fold_document, most_words

    view = np.frombuffer(data, np.uint8)
    room = most_words(view, 0, len(data))
    hashes, letters = np.zeros(room, np.uint64), np.zeros(room, np.uint8)
    firsts, lasts = np.zeros(room, np.int64), np.zeros(room, np.int64)
    f = folding()
    n = fold_document(
        view, 0, len(data), f.table, f.starts, f.codes, hashes, letters, firsts, lasts
    )
    return hashes[:n], letters[:n], firsts[:n], lasts[:n]
