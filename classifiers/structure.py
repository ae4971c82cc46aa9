"""The structural numbers as a scikit-learn estimator; `classifiers.shares` says what they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.base import BaseEstimator, TransformerMixin

from classifiers.reading import read_texts
from classifiers.shares import SHARES, shares_of


class Structure(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """pa.Array of N strings -> float32[N, len(SHARES)]; there is nothing to learn."""

    def fit(self, texts: pa.Array, y: None = None) -> Structure:
        return self

    def transform(self, texts: pa.Array) -> npt.NDArray[np.float32]:
        return shares_of(read_texts(texts).tallies)

    def get_feature_names_out(self, input_features: None = None) -> npt.NDArray[np.object_]:
        return np.array(list(SHARES), dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True
