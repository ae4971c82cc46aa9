"""How good the filter is, on labels that it never saw: metrics.json, report.html and its plots.

The positive class comes first, since it is rare and it is what one pays for: a figure averaged
over both classes flatters. Every figure has its split's size beside it, the curve shows the
other thresholds, and the worst mistakes are printed to be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, brier_score_loss

from classifiers.threshold import precision_recall

Bools = npt.NDArray[np.bool_]
Column = npt.NDArray[np.float32]
Metrics = dict[str, Any]

CALIBRATION_BINS = 10
SHUFFLES = 5
MISTAKES = 6  # of each sort
EXCERPT_CHARACTERS = 600


@dataclass(frozen=True)
class Judged:
    """The test split: N labels, and what the filter made of their documents."""

    rows: Sequence[dict[str, Any]]  # doc_id, kind, source, group, url_or_path, text, justification
    label: npt.NDArray[np.int64]
    positive: Bools
    score: Column
    expected_score: Column
    keep: Bools


def measure(judged: Judged) -> Metrics:
    """The figures of one set of judgements, the positive class first; null where undefined."""
    positive, keep = judged.positive, judged.keep
    precision, recall = precision_recall(positive, keep)
    both = 0 < positive.sum() < len(positive)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-12),
        "pr_auc": float(average_precision_score(positive, judged.score)) if both else None,
        "brier": float(brier_score_loss(positive, judged.score)) if both else None,
        "base_rate": float(positive.mean()),
        "expected_score_mean_error": float(np.abs(judged.expected_score - judged.label).mean()),
        "labels": len(positive),
        "confusion": {
            "positive_kept": int(np.sum(positive & keep)),
            "positive_dropped": int(np.sum(positive & ~keep)),
            "negative_kept": int(np.sum(~positive & keep)),
            "negative_dropped": int(np.sum(~positive & ~keep)),
        },
    }


def measure_by(judged: Judged, field: str) -> dict[str, Metrics]:
    """The figures of each kind, or each source."""
    values = np.array([row[field] for row in judged.rows])
    return {str(v): measure(_where(judged, values == v)) for v in sorted(set(values))}


def calibration_bins(judged: Judged) -> list[dict[str, float]]:
    """What was promised against what was found, over equal ranges of the score."""
    place = np.minimum((judged.score * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "score": float(judged.score[place == i].mean()),
            "positive_share": float(judged.positive[place == i].mean()),
            "labels": int(np.sum(place == i)),
        }
        for i in range(CALIBRATION_BINS)
        if np.any(place == i)
    ]


def permutation_importance(
    judge: Callable[[npt.NDArray[np.float32]], Column],
    features: npt.NDArray[np.float32],
    families: dict[str, list[int]],
    positive: Bools,
    rng: np.random.Generator,
) -> dict[str, float]:
    """How much PR-AUC is lost when a family of columns is shuffled among the rows, jointly."""
    whole = average_precision_score(positive, judge(features))
    losses = {}
    for name, columns in families.items():
        areas = []
        for _ in range(SHUFFLES):
            shuffled = features.copy()
            shuffled[:, columns] = features[rng.permutation(len(features))][:, columns]
            areas.append(average_precision_score(positive, judge(shuffled)))
        losses[name] = float(whole - np.mean(areas))
    return dict(sorted(losses.items(), key=lambda item: (-item[1], item[0])))


def mistakes(judged: Judged) -> dict[str, list[dict[str, Any]]]:
    """The documents on which the filter was surest, and wrong."""
    score, positive = judged.score, judged.positive
    order = np.argsort(score, kind="stable")
    return {
        "kept_but_negative": _shown(judged, [i for i in order[::-1] if not positive[i]]),
        "dropped_but_positive": _shown(judged, [i for i in order if positive[i]]),
    }


def write_report(directory: Path, metrics: Metrics, judged: Judged, annotators: list[str]) -> None:
    """metrics.json, the plots, and report.html that shows them."""
    from jinja2 import Environment, FileSystemLoader

    from classifiers.plots import draw

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    draw(directory, metrics, judged)
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = pages.get_template("report.html").render(
        metrics=metrics, annotators=annotators, mistakes=mistakes(judged)
    )
    (directory / "report.html").write_text(page, encoding="utf-8")


def _where(judged: Judged, chosen: Bools) -> Judged:
    rows = [row for row, take in zip(judged.rows, chosen, strict=True) if take]
    return Judged(
        rows,
        judged.label[chosen],
        judged.positive[chosen],
        judged.score[chosen],
        judged.expected_score[chosen],
        judged.keep[chosen],
    )


def _shown(judged: Judged, order: list[int]) -> list[dict[str, Any]]:
    return [
        {
            **judged.rows[i],
            "text": judged.rows[i]["text"][:EXCERPT_CHARACTERS],
            "label": int(judged.label[i]),
            "score": float(judged.score[i]),
        }
        for i in order
        if judged.keep[i] != judged.positive[i]
    ][:MISTAKES]
