"""A word embedding trained on the corpus itself, and pooled over documents as they are counted.

Training: documents are bags of distinct words, hashed into buckets, weighted by inverse document
frequency and cut to a few axes by a truncated SVD (latent semantic analysis). What is learned is
one float32 table with a row per bucket, so a document's vector is a sum of rows, and the same loop
serves training and scoring. The words come from `classifiers.counting`, which has to find them
anyway. docs/filter.md says what it costs and brings.

Source: Deerwester et al., "Indexing by Latent Semantic Analysis" (1990); Weinberger et al.,
"Feature Hashing for Large Scale Multitask Learning" (2009).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix, diags  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from classifiers.features import axis_names
from classifiers.reading import pooled, read_texts, weighted_rows

Table = npt.NDArray[np.float32]


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
        rows = weighted_rows(self.idf_, self.table_)
        return pooled(read_texts(texts, rows).sums, self.dimensions)

    def bags(self, texts: pa.Array) -> csr_matrix:
        """The documents before the cut to a few axes: float32[N, buckets], rows of unit length."""
        return self._weigh(self._counts(texts))

    def get_feature_names_out(self, input_features: None = None) -> npt.NDArray[np.object_]:
        return np.array(axis_names(self.dimensions), dtype=object)

    def _counts(self, texts: pa.Array) -> csr_matrix:
        none = np.zeros((self.buckets, 0), np.float32)
        reading = read_texts(texts, none, list_words=True)
        total = int(reading.ends[-1])
        ones = np.ones(total, np.float32)
        found = (ones, reading.buckets[:total], reading.ends)
        return csr_matrix(found, shape=(len(texts), self.buckets))

    def _weigh(self, bags: csr_matrix) -> csr_matrix:
        weighted = bags.copy()
        weighted.data = self.idf_[weighted.indices]
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return (diags(1 / np.where(lengths > 0, lengths, 1)) @ weighted).tocsr().astype(np.float32)
