"""How good the filter is, on labels that it never saw: metrics.json, report.html and its plots.

The positive class comes first, since it is rare and it is what one pays for: a figure averaged
over both classes flatters. Every figure has its split's size beside it, the curve shows the
other thresholds, and the worst mistakes are printed to be read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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

    described = describe_plots(metrics)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    draw(directory, metrics, judged)
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = pages.get_template("report.html").render(
        metrics=metrics, annotators=annotators, mistakes=mistakes(judged), plots=described
    )
    (directory / "report.html").write_text(page, encoding="utf-8")


def describe_plots(metrics: Metrics) -> dict[str, str]:
    """What each plot shows, in words and figures, for those who do not see it."""
    chosen = next(point for point in metrics["curve"] if point["chosen"])
    low, high = (f"{chosen['intervals']['kept_share'][i]:.3f}" for i in (0, 1))
    worst = max(metrics["calibration"], key=lambda b: abs(b["score"] - b["positive_share"]))
    first = next(iter(metrics["importance"].items()), ("nothing", {"lost": 0.0}))
    confusion = metrics["confusion"]
    described = {
        "precision_recall": "Precision over recall of the forest on the test labels, with each "
        f"baseline as a point: PR-AUC {_figure(metrics['pr_auc'])}, base rate "
        f"{metrics['base_rate']:.3f}.",
        "calibration": "Share of positive labels over the score, beside the diagonal: farthest "
        f"from it at a score of {worst['score']:.3f}, where {worst['positive_share']:.3f} of "
        f"{worst['labels']} labels are positive.",
        "scores": "Histogram of the test labels' scores: at the threshold "
        f"{confusion['positive_kept'] + confusion['negative_kept']} of {metrics['labels']} are "
        f"kept, {confusion['positive_kept']} of them positive.",
        "kept_share": "Precision, recall and kept bytes over the kept share of documents, with "
        f"95 % intervals as shades: the threshold keeps {chosen['kept_share']:.3f} ({low} to "
        f"{high}).",
        "importance": "PR-AUC lost when columns are shuffled, the 15 greatest, with the range of "
        f"the shuffles: first {first[0]} with {first[1]['lost']:.3f}.",
        "leakage": "Histogram of each test document's greatest similarity to a training document: "
        f"the greatest is {metrics['leakage']['greatest_similarity_left']:.3f}.",
    }
    if metrics["learning_curve"] and metrics["learning_curve"]["points"]:
        described["learning_curve"] = (
            "PR-AUC over the number of training labels, with the fitted curve and the forecast. "
            + metrics["learning_curve"]["verdict"]
        )
    return described


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


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
