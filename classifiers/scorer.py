"""A trained filter, opened from its directory: texts in, decisions out. No pickle is loaded.

Files: `forest.onnx`, `features/` and `threshold.json` (the classes, the calibration, the cut).
A scorer works on Arrow arrays, one batch at a time, on one thread; it keeps no state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from classifiers.calibration import Calibration
from classifiers.features import Features
from classifiers.threshold import Decision
from classifiers.tree_walk import TreeWalk
from classifiers.votes import TOP_SCORE, read_votes

FOREST = "forest.onnx"
FEATURES = "features"
THRESHOLD = "threshold.json"
THRESHOLD_FORMAT = 1

Column = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Forest:
    """The exported forest as any ONNX runtime reads it, and the compiled walk through it."""

    onnx: bytes
    walk: TreeWalk

    @classmethod
    def open(cls, onnx: bytes) -> Forest:
        """Raises ValueError where the graph is not one forest of `x <= threshold`."""
        return cls(onnx, TreeWalk.read(onnx))


@dataclass(frozen=True)
class Scorer:
    """score = calibrated probability of the positive class; expected_score from 0 to 5."""

    forest: Forest
    features: Features
    classes: npt.NDArray[np.int64]
    positive_score_min: int
    calibration: tuple[Calibration, Calibration]  # of the score, of the expected score
    decision: Decision

    @classmethod
    def open(cls, directory: Path | str) -> Scorer:
        """Raises ValueError where the filter is damaged or of another version."""
        directory = Path(directory)
        cut = json.loads((directory / THRESHOLD).read_text())
        if cut["format"] != THRESHOLD_FORMAT:
            raise ValueError(f"{directory / THRESHOLD} has format {cut['format']}")
        return cls(
            forest=Forest.open((directory / FOREST).read_bytes()),
            features=Features.open(directory / FEATURES),
            classes=np.array(cut["classes"]),
            positive_score_min=cut["positive_score_min"],
            calibration=(
                Calibration.from_knots(1.0, cut["calibration"]["score"]),
                Calibration.from_knots(TOP_SCORE, cut["calibration"]["expected_score"]),
            ),
            decision=Decision(**cut["decision"]),
        )

    def score(
        self, texts: pa.Array, kinds: pa.Array
    ) -> tuple[Column, Column, npt.NDArray[np.bool_]]:
        """score float32[N], expected_score float32[N] and keep bool[N] of N texts."""
        score, expected_score = self.judge(self.features.transform(texts, kinds))
        return score, expected_score, self.decision.keep(score, expected_score)

    def judge(self, features: npt.NDArray[np.float32]) -> tuple[Column, Column]:
        """Both calibrated scores from float32[N, F + 1] features."""
        of_a_vote = read_votes(np.eye(len(self.classes)), self.classes, self.positive_score_min)
        raw = self.forest.walk.weigh(features, of_a_vote)
        probability, expected = self.calibration
        return probability.predict(raw[:, 0]), expected.predict(raw[:, 1])

    def save(self, directory: Path, described: Mapping[str, Any]) -> None:
        """Write the filter's files; `described` is told in threshold.json beside what it needs."""
        probability, expected = self.calibration
        cut = {
            "format": THRESHOLD_FORMAT,
            "decision": asdict(self.decision),
            "positive_score_min": self.positive_score_min,
            "classes": [int(score) for score in self.classes],
            "calibration": {
                "score": probability.knots_.tolist(),
                "expected_score": expected.knots_.tolist(),
            },
            **described,
        }
        (directory / FOREST).write_bytes(self.forest.onnx)
        self.features.save(directory / FEATURES)
        (directory / THRESHOLD).write_text(json.dumps(cut, indent=1) + "\n")
