"""Topics of a reference: clusters of its vectors, named by their words; and who reaches which.

A topic is a centre of k-means over unit vectors; a piece belongs to the nearest. Reached is a topic
with at least one piece. What shaped the clusters is near their centres, so measure other pieces.

Source: the measure of diversity by clusters is that of Lloyd and Jordan's quantiser ("Least Squares
Quantization in PCM", 1982) read as topics, as in Cosmopedia's clusters of web samples (Ben Allal et
al., 2024); entropy is Shannon's, over that of equal shares.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.near_meaning import Vectors

LEAST_PIECES = 16  # of a reference, for any topics
PIECES_A_TOPIC = 8
MOST_TOPICS = 50
_NAMING_WORDS = 3
_SHORTEST_NAME = 4  # letters of a word that may name a topic


@dataclass(frozen=True)
class Topics:
    """float32[topics, dimensions], and a name for each."""

    centres: Vectors
    names: tuple[str, ...]

    def of(self, vectors: Vectors) -> npt.NDArray[np.int64]:
        """int64[N]: the topic of each piece."""
        squared = (self.centres**2).sum(axis=1) - 2 * vectors @ self.centres.T
        return np.asarray(squared.argmin(axis=1), np.int64)


def find_topics(vectors: Vectors, texts: Sequence[str], seed: int) -> Topics | None:
    """Topics of a reference; null where it has too few pieces for any."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    count = min(MOST_TOPICS, len(np.unique(vectors, axis=0)), len(vectors) // PIECES_A_TOPIC)
    if len(vectors) < LEAST_PIECES or count < 2:
        return None
    with threadpool_limits(1):  # the order of sums, and so every bit, is the same each time
        found = KMeans(count, n_init=3, random_state=seed).fit(vectors)
    return Topics(found.cluster_centers_.astype(np.float32), _names(found.labels_, texts, count))


def topic_entropy(labels: npt.NDArray[np.int64], topics: int) -> float | None:
    """Entropy of the topics' shares over the greatest there can be: 0 one topic, 1 all alike."""
    if not len(labels) or topics < 2:
        return None
    shares = np.bincount(labels, minlength=topics) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / math.log(topics)) + 0.0


def topic_coverage(labels: npt.NDArray[np.int64], topics: int) -> float | None:
    """Share of the topics that are reached."""
    return len(np.unique(labels)) / topics if len(labels) and topics else None


def _names(labels: npt.NDArray[np.int64], texts: Sequence[str], count: int) -> tuple[str, ...]:
    """The words that are in most of a topic's texts and in few of the others."""
    holding = [Counter[str]() for _ in range(count)]
    for label, text in zip(labels.tolist(), texts, strict=True):
        words = {w for w in text.casefold().split() if w.isalpha() and len(w) >= _SHORTEST_NAME}
        holding[label].update(words)
    everywhere = Counter[str]()
    for inside in holding:
        everywhere.update(inside)
    sizes = np.bincount(labels, minlength=count)
    named = []
    for label, inside in enumerate(holding):
        telling = {
            word: n / sizes[label] * math.log(n / sizes[label] / (everywhere[word] / len(texts)))
            for word, n in inside.items()
        }
        best = sorted(telling, key=lambda word: (-telling[word], word))[:_NAMING_WORDS]
        named.append(", ".join(best) or "no words")
    return tuple(named)
