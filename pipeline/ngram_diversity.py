"""Diversity of words: distinct n-grams, their entropy, self-BLEU and compression.

Words are numbers here, and n-grams too, so that every count is a sort: 2,000 pieces of 400 words
take about a second. All figures but compression are of words in lower case, punctuation left out.

distinct-n: distinct n-grams over all n-grams. Li et al., "A Diversity-Promoting Objective Function
for Neural Conversation Models" (2016), arXiv 1510.03055.
Entropy: Shannon's, of the n-gram distribution, in bits. Zhang et al., "Generating Informative and
Diverse Conversational Responses" (2018), arXiv 1809.05972.
Self-BLEU: BLEU-4 of each piece against all others as references. Zhu et al., "Texygen" (2018),
arXiv 1802.01886; smoothed by adding one for n > 1 (Lin and Och, "ORANGE", 2004), as nltk's method2.
Compression ratio: raw over compressed bytes. Shaib et al., "Standardizing the Measurement of Text
Diversity" (2024), arXiv 2403.00553. Deflate, as there, looks back 32 KiB; zstd looks back
megabytes, and so sees what a set repeats from one end to the other.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Grams = tuple[Numbers, Numbers]  # (n-gram, piece) of every place, n-grams as numbers

ORDERS = (1, 2, 3)
BLEU_ORDERS = 4
_WORD = re.compile(r"\w+")
_ZSTD_LEVEL = 9


def number_words(texts: Sequence[str], vocabulary: dict[str, int]) -> list[Numbers]:
    """The words of each text as numbers; new words enter the vocabulary."""
    return [
        np.array(
            [vocabulary.setdefault(w, len(vocabulary)) for w in _WORD.findall(text.casefold())],
            np.int64,
        )
        for text in texts
    ]


def list_grams(pieces: Sequence[Numbers], orders: int) -> list[Grams]:
    """The n-grams within pieces for n = 1 to `orders`, numbered anew for each n."""
    if not pieces:
        return [(np.zeros(0, np.int64), np.zeros(0, np.int64))] * orders
    words = np.unique(np.concatenate(pieces), return_inverse=True)[1].astype(np.int64)
    owner = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    size, grams, found = int(words.max(initial=0)) + 1, words, [(words, owner)]
    for n in range(2, orders + 1):
        # no overflow: there are fewer than 2**31 grams and words in anything that is measured
        pairs = grams[:-1] * size + words[n - 1 :]
        grams = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        inside = owner[: len(grams)] == owner[n - 1 :]  # it begins and ends in one piece
        found.append((grams[inside], owner[: len(grams)][inside]))
    return found


def distinct_share(grams: Numbers) -> float | None:
    """Distinct n-grams over all n-grams; null without any."""
    return len(np.unique(grams)) / len(grams) if len(grams) else None


def entropy_bits(grams: Numbers) -> float | None:
    """Shannon entropy of the n-grams in bits; null without any."""
    if not len(grams):
        return None
    shares = np.unique(grams, return_counts=True)[1] / len(grams)
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # no minus zero


def self_bleu(pieces: Sequence[Numbers]) -> float | None:
    """Mean BLEU-4 of the pieces, each against all others; null with fewer than two of 4 words."""
    long = [piece for piece in pieces if len(piece) >= BLEU_ORDERS]
    if len(long) < 2:
        return None
    lengths = np.array([len(piece) for piece in long])
    logs = np.zeros(len(long))
    for n, (grams, owner) in enumerate(list_grams(long, BLEU_ORDERS)):
        matched = _matched(grams, owner, len(long))
        smooth = int(n > 0)
        with np.errstate(divide="ignore"):  # no word in common: BLEU is zero
            logs += np.log((matched + smooth) / (lengths - n + smooth)) / BLEU_ORDERS
    return float(np.mean(np.exp(logs) * _brevity(lengths)))


def compression_ratio(raw: bytes) -> float | None:
    """Raw over deflated bytes; null without any."""
    return len(raw) / len(zlib.compress(raw, 9)) if raw else None


def far_compression_ratio(raw: bytes) -> float | None:
    """Raw over zstd's bytes; null without any."""
    import pyarrow as pa

    return len(raw) / len(pa.Codec("zstd", _ZSTD_LEVEL).compress(raw)) if raw else None


def _matched(grams: Numbers, owner: Numbers, pieces: int) -> npt.NDArray[np.float64]:
    """float64[pieces]: n-grams of each piece, as often as the one other that has most of it."""
    keys, counts = np.unique(grams * pieces + owner, return_counts=True)
    grams, owner = keys // pieces, keys % pieces
    order = np.lexsort((-counts, grams))
    grams, owner, counts = grams[order], owner[order], counts[order]
    first = np.diff(grams, prepend=-1) != 0
    most = counts[first][np.cumsum(first) - 1]
    # who has most of an n-gram is held against the second, and all others against the first
    second = np.where(np.append(first[1:], True), 0, np.append(counts[1:], 0))
    matched = np.minimum(counts, np.where(first, second, most)).astype(float)
    return np.asarray(np.bincount(owner, matched, pieces), np.float64)


def _brevity(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """BLEU's penalty for pieces that are shorter than the other of the nearest length."""
    order = np.argsort(lengths, kind="stable")
    ranked = lengths[order].astype(float)
    below, above = np.append(-np.inf, ranked[:-1]), np.append(ranked[1:], np.inf)
    nearest = np.where(ranked - below <= above - ranked, below, above)
    penalty = np.ones(len(lengths))
    penalty[order] = np.exp(np.minimum(0, 1 - nearest / ranked))
    return penalty
