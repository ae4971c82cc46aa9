"""A word embedding trained on the corpus itself, and pooled over documents by a compiled loop.

Training: documents are bags of distinct words, hashed into buckets, weighted by inverse document
frequency and cut to a few axes by a truncated SVD (latent semantic analysis). What is learned is
one float32 table with a row per bucket, so a document's vector is a sum of rows, and the same loop
serves training and scoring. docs/filter.md says what it brings.

What it costs: a tenth of a second to train on 9 MB, then about 250 MB/s on one core.
Source: Deerwester et al., "Indexing by Latent Semantic Analysis" (1990); Weinberger et al.,
"Feature Hashing for Large Scale Multitask Learning" (2009).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix, diags  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from classifiers.arrow_text import compiled, text_buffers
from classifiers.tally import is_word

Table = npt.NDArray[np.float32]


@compiled
def distinct_words(data: Any, start: int, end: int, seen: Any, mark: int, found: Any) -> int:
    """Write the buckets of a document's distinct words to `found`, and return how many.

    `seen` is int64[buckets]: the mark of the last document in which a bucket was met.
    """
    hashed, length, count = np.int64(0x811C9DC5), 0, 0
    for i in range(start, end + 1):
        if i < end and is_word(data[i]):
            hashed = ((hashed ^ (data[i] | 32)) * 0x01000193) & 0xFFFFFFFF
            length += 1
        elif length:
            bucket = hashed % len(seen)
            if seen[bucket] != mark:
                seen[bucket] = mark
                found[count] = bucket
                count += 1
            hashed, length = np.int64(0x811C9DC5), 0
    return count


@compiled
def _bags(data: Any, offsets: Any, buckets: int, ends: Any, indices: Any) -> int:
    """The distinct words of all documents, one after another; returns how many in all."""
    seen, found = np.full(buckets, -1, np.int64), np.zeros(buckets, np.int64)
    total = 0
    for document in range(len(offsets) - 1):
        count = distinct_words(
            data, offsets[document], offsets[document + 1], seen, document, found
        )
        indices[total : total + count] = found[:count]
        total += count
        ends[document + 1] = total
    return total


@compiled
def _pool(data: Any, offsets: Any, idf: Any, table: Any, out: Any) -> None:
    """Add the rows of each document's distinct words, idf-weighted, at unit length of the bag."""
    seen, found = np.full(len(idf), -1, np.int64), np.zeros(len(idf), np.int64)
    for document in range(len(offsets) - 1):
        count = distinct_words(
            data, offsets[document], offsets[document + 1], seen, document, found
        )
        squares = np.float32(0)
        row = out[document]
        for k in range(count):
            weight = idf[found[k]]
            squares += weight * weight
            for axis in range(table.shape[1]):
                row[axis] += weight * table[found[k], axis]
        if squares > 0:
            row /= np.sqrt(squares)


def pool(texts: pa.Array, idf: Table, table: Table) -> Table:
    """float32[N, axes]: each document's idf-weighted unit bag of words times the table."""
    data, offsets = text_buffers(texts)
    out = np.zeros((len(texts), table.shape[1]), np.float32)
    _pool(data, offsets, idf, np.ascontiguousarray(table), out)
    return out


class WordEmbedding(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """pa.Array of N strings -> float32[N, dimensions].

    Learned: `idf_` float32[buckets], `table_` float32[buckets, dimensions].
    """

    def __init__(self, dimensions: int = 32, buckets: int = 1 << 14, seed: int = 0) -> None:
        self.dimensions = dimensions
        self.buckets = buckets
        self.seed = seed

    def fit(self, texts: pa.Array, y: None = None) -> WordEmbedding:
        bags = self._counts(texts)
        documents = np.bincount(bags.indices, minlength=self.buckets)
        idf = np.log((1 + bags.shape[0]) / (1 + documents)) + 1
        # A word that no training document had says nothing yet; it must not dilute the others.
        self.idf_ = np.where(documents > 0, idf, 0).astype(np.float32)
        axes = min(self.dimensions, bags.shape[0], self.buckets)
        with threadpool_limits(1):  # the order of sums, and so every bit, is the same each time
            _, _, found = randomized_svd(self._weigh(bags), axes, n_iter=3, random_state=self.seed)
        self.table_ = np.zeros((self.buckets, self.dimensions), np.float32)
        self.table_[:, :axes] = found.T
        return self

    def transform(self, texts: pa.Array) -> Table:
        return pool(texts, self.idf_, self.table_)

    def bags(self, texts: pa.Array) -> csr_matrix:
        """The documents before the cut to a few axes: float32[N, buckets], rows of unit length."""
        return self._weigh(self._counts(texts))

    def get_feature_names_out(self, input_features: None = None) -> npt.NDArray[np.object_]:
        return np.array([f"word_axis_{i:02}" for i in range(self.dimensions)], dtype=object)

    def _counts(self, texts: pa.Array) -> csr_matrix:
        data, offsets = text_buffers(texts)
        lengths = np.minimum(np.diff(offsets) // 2 + 1, self.buckets)  # a word and a blank: 2 bytes
        indices = np.zeros(int(lengths.sum()), np.int32)
        ends = np.zeros(len(offsets), np.int64)
        total = _bags(data, offsets, self.buckets, ends, indices)
        found = (np.ones(total, np.float32), indices[:total], ends)
        return csr_matrix(found, shape=(len(texts), self.buckets))

    def _weigh(self, bags: csr_matrix) -> csr_matrix:
        weighted = bags.copy()
        weighted.data = self.idf_[weighted.indices]
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return (diags(1 / np.where(lengths > 0, lengths, 1)) @ weighted).tocsr().astype(np.float32)
