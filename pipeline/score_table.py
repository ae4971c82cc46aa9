"""The filter's scores of all documents, found by id: 29 bytes a document, and no objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.records import read_batches
from pipeline.stage import Sealed

ID = np.dtype("S24")  # a doc_id: 24 hex digits
Ids = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class ScoreTable:
    """Columns of N scored documents, sorted by id."""

    ids: Ids
    score: npt.NDArray[np.float32]
    keep: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, scored: Sealed) -> ScoreTable:
        """The scores of stage 5."""
        ids, score, keep = [np.empty(0, ID)], [np.empty(0, np.float32)], [np.empty(0, np.bool_)]
        for batch in read_batches(scored.files("scores/*.parquet"), ["doc_id", "score", "keep"]):
            ids.append(np.array(batch["doc_id"].to_pylist(), ID))
            score.append(batch["score"].to_numpy())
            keep.append(batch["keep"].to_numpy(zero_copy_only=False))
        known = np.concatenate(ids)
        order = np.argsort(known)
        return cls(known[order], np.concatenate(score)[order], np.concatenate(keep)[order])

    def of(self, ids: Ids) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Score and verdict of each; what was never scored, as nothing synthetic is, has 1."""
        if not len(self.ids):
            return np.ones(len(ids), np.float32), np.ones(len(ids), np.bool_)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        known = self.ids[at] == ids
        score = np.where(known, self.score[at], np.float32(1))
        return score.astype(np.float32), np.where(known, self.keep[at], True)
