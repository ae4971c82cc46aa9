"""MinHash signatures and exact hashes of batches of texts, as machine code over Arrow's bytes.

Two texts are *exact* copies when they have the same words in the same order, whatever their case,
white space, punctuation and Unicode form. A word is a run of letters, marks, numbers and
underscores after NFKC and case folding (which only the texts with letters that these change go
through, each as a whole); where a script writes no spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese), each character is a word. A text without words is told apart by its bytes. How *near* two
texts are is the Jaccard similarity of their sets of 5-word shingles, estimated by 128 minima: a
text of under five words is one shingle.

One loop finds the words 64 bytes at a time, hashes each (64 bits), rolls the last five into a
shingle (32 bits) and lowers the minima of 128 functions a*x + b mod 2**32; nothing but one text
is held. The functions have fixed constants, so signatures of all runs are comparable. The exact
hash has 128 bits; none of the hashes is cryptographic. docs/copies.md says what it costs.

Source: Broder, "On the resemblance and containment of documents" (1997); Mitzenmacher and Vadhan,
"Why Simple Hash Functions Work" (2008), for functions this simple on inputs that are hashed.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.near_copies import MINIMA, SHINGLE_WORDS

UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]

_SEED = 1_997  # of the family of functions, not of the recipe
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio
_LAST_TABLED = 0x40000  # no letter has a code point from here on
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x312F), (0x31A0, 0x9FFF),
    (0xF900, 0xFAFF), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip


@dataclass(frozen=True)
class Sketches:
    """What is kept of N texts to find their copies."""

    exact: UInt64s  # [N, 2]: equal where the words are
    minima: UInt32s  # [N, MINIMA]
    words: UInt32s  # [N]

    def __len__(self) -> int:
        return len(self.exact)


def sketch(texts: pa.Array | pa.ChunkedArray) -> Sketches:
    """The exact hashes and signatures of N texts; nulls are read as empty texts."""
    from pipeline.shingle_loops import read_texts, sort_texts

    data, offsets = _buffers(texts)
    found = Sketches(
        np.zeros((len(offsets) - 1, 2), np.uint64),
        np.full((len(offsets) - 1, MINIMA), 0xFFFFFFFF, np.uint32),
        np.zeros(len(offsets) - 1, np.uint32),
    )
    results = (*_functions(), found.exact, found.minima, found.words)
    other_form = sort_texts(data, offsets, _kinds())
    same = np.flatnonzero(~other_form)
    read_texts(data, offsets, same, same, _kinds(), *results)
    if len(same) < len(found):
        rest = np.flatnonzero(other_form)
        picked = texts.take(pa.array(rest)).to_pylist()
        folded = pa.array([_folded(text) for text in picked], pa.large_string())
        read_texts(*_buffers(folded), np.arange(len(rest)), rest, _kinds(), *results)
    return found


def _folded(text: str) -> str:
    """Unicode's NFKC and full case folding, for a caseless match."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _buffers(texts: pa.Array | pa.ChunkedArray) -> tuple[Any, Any]:
    """Bytes and offsets, read-only wherever they come from: else the loops are compiled twice."""
    from classifiers.arrow_text import text_buffers

    data, offsets = text_buffers(texts)
    data.setflags(write=False)
    offsets.setflags(write=False)
    return data, offsets


@cache
def _functions() -> tuple[UInt32s, UInt32s]:
    """The odd factors and the summands of the functions, by SplitMix64: no library matters."""
    state, drawn = _SEED, []
    for _ in range(2 * MINIMA):
        state = (state + _GOLDEN) % 2**64
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        drawn.append((mixed ^ (mixed >> 31)) >> 32)
    values = np.array(drawn, np.uint32)
    return values[:MINIMA] | np.uint32(1), values[MINIMA:]


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """What every code point is to words.

    `FOLDED` where a text with it must be brought to NFKC and folded case first; what becomes only
    punctuation or white space (a no-break space, an ellipsis) need not be. Marks that show nothing
    (a soft hyphen, a joiner) are `UNSEEN`.
    """
    from pipeline.shingle_loops import ALONE, BETWEEN, FOLDED, INSIDE, UNSEEN

    kinds = np.full(_LAST_TABLED, BETWEEN, np.uint8)
    for point in range(128, _LAST_TABLED):
        sign = chr(point)
        category = unicodedata.category(sign)
        may_join = category[0] == "M" or 0x1160 <= point <= 0x11FF  # marks, parts of Hangul
        if category == "Lo" and not may_join and not unicodedata.decomposition(sign):
            kinds[point] = INSIDE  # most of them; the others are asked more
        elif category not in ("Cn", "Co", "Cs"):  # not assigned, private, half a pair
            folded = _folded(sign)
            if any(unicodedata.category(part)[0] in "LMN" for part in folded):
                kinds[point] = FOLDED if folded != sign or may_join else INSIDE
            elif category == "Cf":
                kinds[point] = UNSEEN
    for first, last in _WITHOUT_SPACES:
        part = kinds[first : last + 1]
        part[part == INSIDE] = ALONE
    return kinds


assert SHINGLE_WORDS == 5, "the loop rolls five words"
