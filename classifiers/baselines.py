"""What the forest must beat, on the same split, in every report.

fastText supervised (the way of DCLM), a regression of the score on an embedding (the way of
FineWeb-Edu, here on the filter's word embedding) and a logistic one, the linear score on all words
alone, the length alone, and no model at all. Each keeps as many test documents as the forest does,
so their precision and recall stand side by side.

Source: Li et al., "DataComp-LM" (2024), arXiv 2406.11794; Penedo et al., "The FineWeb Datasets"
(2024), arXiv 2406.17557.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from classifiers.intervals import Interval, area_rounds, interval
from classifiers.threshold import precision_recall

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]

FASTTEXT_SECONDS = 120.0
# glibc then takes every larger buffer fresh, and so zeroed, from the system. Without it fastText
# reads what earlier work left in memory: other figures each time, and often "Encountered NaN".
FASTTEXT_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "1024"}


def linear_baseline(train: Floats, positive: Bools, held: Floats) -> Floats:
    """Logistic regression on standardized features; scores of the held-out rows."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1_000)
    )
    with threadpool_limits(1):  # the same bits each time
        return np.asarray(model.fit(train, positive).decision_function(held))


def regression_baseline(train: Floats, labels: npt.NDArray[np.int64], held: Floats) -> Floats:
    """The score itself, 0 to 5, by linear regression on standardized features."""
    model = make_pipeline(StandardScaler(), Ridge(1.0))
    with threadpool_limits(1):  # the same bits each time
        return np.asarray(model.fit(train, labels).predict(held))


def length_baseline(train: Floats, positive: Bools, held: Floats) -> Floats:
    """A tree of 8 leaves on the length alone, since both very short and very long may be bad."""
    model = DecisionTreeClassifier(max_leaf_nodes=8, class_weight="balanced", random_state=0)
    return np.asarray(model.fit(train[:, None], positive).predict_proba(held[:, None])[:, 1])


def fasttext_baseline(
    train: pa.Array, positive: Bools, held: pa.Array, scratch: Path
) -> Floats | None:
    """fastText's probability of the held-out texts, or None where it does not train."""
    work = scratch / "fasttext"
    work.mkdir(parents=True, exist_ok=True)
    with (work / "train.txt").open("w", encoding="utf-8") as file:
        for text, label in zip(train, positive, strict=True):
            file.write(f"__label__{int(label)} {_one_line(text)}\n")
    with (work / "held.txt").open("w", encoding="utf-8") as file:
        file.writelines(f"{_one_line(text)}\n" for text in held)
    trainer = Path(__file__).with_name("fasttext_trainer.py")
    try:
        subprocess.run(
            [sys.executable, "-P", str(trainer), str(work)],
            env={**os.environ, **FASTTEXT_ENVIRONMENT},
            timeout=FASTTEXT_SECONDS,
            check=True,
            capture_output=True,
        )
    except subprocess.SubprocessError:
        return None
    return np.array(json.loads((work / "probabilities.json").read_text()))


def judge_baselines(
    scores: Mapping[str, Floats | None],
    forest: Floats,
    positive: Bools,
    kept: int,
    groups: npt.NDArray[np.object_],
    rng: np.random.Generator,
) -> tuple[dict[str, Any], Interval]:
    """Each baseline's precision and recall of its `kept` best, PR-AUC, and how far it is behind.

    Also the interval of the forest's own PR-AUC. The lead is paired: forest and baseline are judged
    on the same draws of test groups. None stands for a baseline that did not train.
    """
    trained = {name: score for name, score in scores.items() if score is not None}
    rounds = area_rounds(positive, {**trained, "": forest}, groups, rng)
    judged: dict[str, Any] = dict.fromkeys(scores)
    for name, score in trained.items():
        keep = np.zeros(len(positive), bool)
        keep[np.argsort(-score, kind="stable")[:kept]] = True
        precision, recall = precision_recall(positive, keep)
        judged[name] = {
            "precision": precision,
            "recall": recall,
            "pr_auc": float(average_precision_score(positive, score)),
            "interval": interval(rounds[name]),
            "forest_leads_by": interval(rounds[""] - rounds[name]),
        }
    return judged, interval(rounds[""])


def _one_line(text: pa.StringScalar) -> str:
    return " ".join(text.as_py().split()).replace("\x00", " ")
