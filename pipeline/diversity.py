"""How different pieces of text are from one another, in numbers that papers use.

distinct-n: distinct n-grams over all n-grams (Li et al., arXiv 1510.03055). Self-BLEU: how well
a piece is predicted by the others (Zhu et al., arXiv 1802.01886), on a sample; lower is diverse.
Compression ratio: raw over compressed bytes (Shaib et al., arXiv 2403.00553); lower is diverse.
Near-duplicate share: pieces with an earlier twin above a MinHash similarity.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.near_copies import NearCopies, signature

_WORD = re.compile(r"\w+")
_SELF_BLEU_SAMPLE = 60


def measure_diversity(texts: Sequence[str], seed: int) -> dict[str, Any]:
    """All measures of a set of texts; null where there is too little to measure."""
    words = [_WORD.findall(text.casefold()) for text in texts]
    return {
        "pieces": len(texts),
        "words": sum(map(len, words)),
        **{f"distinct_{n}": distinct_n(words, n) for n in (1, 2, 3)},
        "self_bleu_4": self_bleu(words, seed),
        "compression_ratio": compression_ratio(texts),
        "near_duplicate_share": {
            str(limit): near_duplicate_share(texts, limit) for limit in (0.5, 0.7, 0.8)
        },
    }


def distinct_n(words: Sequence[Sequence[str]], n: int) -> float | None:
    """Distinct n-grams over all n-grams; null without any."""
    grams = [gram for text in words for gram in _grams(text, n)]
    return len(set(grams)) / len(grams) if grams else None


def compression_ratio(texts: Sequence[str]) -> float | None:
    """Raw over deflated bytes of all texts together; null without any."""
    raw = "\n".join(texts).encode()
    return len(raw) / len(zlib.compress(raw, 9)) if raw else None


def near_duplicate_share(texts: Sequence[str], limit: float) -> float | None:
    """Share of the texts with an earlier twin of a similarity over `limit`."""
    if not texts:
        return None
    index, twins = NearCopies(limit), 0
    for i, text in enumerate(texts):
        sketch = signature(text)
        twins += index.twin_of(sketch) is not None
        index.add(str(i), sketch)
    return twins / len(texts)


def self_bleu(words: Sequence[Sequence[str]], seed: int) -> float | None:
    """Mean BLEU-4 of sampled texts, each against the others of the sample; null below two texts."""
    texts = [text for text in words if len(text) >= 4]
    if len(texts) < 2:
        return None
    generator = np.random.default_rng([seed, 60])
    chosen = generator.permutation(len(texts))[:_SELF_BLEU_SAMPLE]
    counts = [[Counter(_grams(texts[i], n)) for n in range(1, 5)] for i in sorted(chosen)]
    return float(np.mean([_bleu(i, counts) for i in range(len(counts))]))


def _bleu(i: int, counts: list[list[Counter[tuple[str, ...]]]]) -> float:
    """Geometric mean of the clipped precisions of text i, smoothed by one; no length penalty."""
    logs = []
    for n in range(4):
        own, matched = counts[i][n], 0
        for gram, times in own.items():
            most = max(c[n][gram] for j, c in enumerate(counts) if j != i)
            matched += min(times, most)
        logs.append(math.log((matched + 1) / (sum(own.values()) + 1)))
    return math.exp(sum(logs) / 4)


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))
