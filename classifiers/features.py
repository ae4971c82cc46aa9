"""The features of a document, put together, and their recipe on disk.

A row is: is it code, the structural numbers, the axes of the word embedding, and `lexical`, the
linear score on all words. The embedding and `lexical` are one table, pooled in one pass.
On disk: `recipe.json` (names, sizes, the hash of the table) and the table as a plain `.npy`,
named by its hash, so that no cache can hold a stale one.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from classifiers.reading import pooled, read_texts, weighted_rows
from classifiers.shares import SHARES, shares_of

if TYPE_CHECKING:
    from classifiers.embedding import WordEmbedding

RECIPE = "recipe.json"
RECIPE_FORMAT = 2
HASH = (
    "h = ((h >> 32) ^ h ^ part) * 0x9E3779B97F4A7C15 modulo 2**64, from h = 0, over the word in "
    "parts of eight bytes, little-endian, each byte | 32; its row is (h >> 32) * rows >> 32"
)
Matrix = npt.NDArray[np.float32]


def dense_features(embedding: WordEmbedding, texts: pa.Array, kinds: pa.Array) -> Matrix:
    """float32[N, F]: every feature but `lexical`, which the forest's own training makes."""
    return Features(embedding.idf_, embedding.table_).transform(texts, kinds)


def feature_names(dimensions: int) -> list[str]:
    """The names of the forest's columns, in order."""
    return ["is_code", *SHARES, *axis_names(dimensions), "lexical"]


def axis_names(dimensions: int) -> list[str]:
    """The names of the word embedding's axes."""
    return [f"word_axis_{i:02}" for i in range(dimensions)]


@dataclass(frozen=True)
class Features:
    """What a scorer computes: `idf` float32[buckets], `table` float32[buckets, axes + lexical]."""

    idf: Matrix
    table: Matrix

    def transform(self, texts: pa.Array, kinds: pa.Array) -> Matrix:
        """float32[N, F + 1], in the order of `names`."""
        reading = read_texts(texts, self._rows)
        words = pooled(reading.sums, self.table.shape[1])
        is_code = pc.equal(kinds.cast(pa.string()), "code").to_numpy(zero_copy_only=False)
        return np.column_stack([is_code.astype(np.float32), shares_of(reading.tallies), words])

    @cached_property
    def _rows(self) -> Matrix:
        return weighted_rows(self.idf, self.table)

    @property
    def names(self) -> list[str]:
        return feature_names(self.table.shape[1] - 1)

    def save(self, directory: Path) -> None:
        """Write the recipe and the table; the same features give the same bytes."""
        directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, np.column_stack([self.idf, self.table]), allow_pickle=False)
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        name = f"words-{sha256[:16]}.npy"
        for stale in directory.glob("words-*.npy"):  # of a killed run
            stale.unlink()
        (directory / name).write_bytes(buffer.getvalue())
        recipe = {
            "format": RECIPE_FORMAT,
            "features": self.names,
            "words": {
                "file": name,
                "sha256": sha256,
                "columns": "inverse document frequency, then the axes, then lexical",
                "hash": HASH,
                "buckets": len(self.idf),
            },
        }
        (directory / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n")

    @classmethod
    def open(cls, directory: Path) -> Features:
        """Raises ValueError where the recipe is not of this version or the table is damaged."""
        recipe = json.loads((directory / RECIPE).read_text())
        content = (directory / recipe["words"]["file"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != recipe["words"]["sha256"]:
            raise ValueError(f"{directory / recipe['words']['file']} is damaged")
        columns = np.load(io.BytesIO(content), allow_pickle=False)
        features = cls(np.ascontiguousarray(columns[:, 0]), np.ascontiguousarray(columns[:, 1:]))
        if recipe["format"] != RECIPE_FORMAT or recipe["features"] != features.names:
            raise ValueError(f"{directory / RECIPE} was made by another version of these features")
        return features
