"""The report's plots, as PNG files that are the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve

if TYPE_CHECKING:
    from classifiers.report import Judged, Metrics

MOST_BARS = 15


def draw(directory: Path, metrics: Metrics, judged: Judged) -> None:
    """Write one PNG for each figure that the report describes."""
    with _axes(directory / "precision_recall.png", "recall", "precision") as axes:
        _precision_recall(axes, metrics, judged)
    with _axes(directory / "calibration.png", "score", "share of positive labels") as axes:
        _calibration(axes, metrics["calibration"])
    with _axes(directory / "scores.png", "score", "labels") as axes:
        edges = np.linspace(0, 1, 21).tolist()
        parts = [judged.score[~judged.positive], judged.score[judged.positive]]
        axes.hist(parts, edges, stacked=True, label=["negative", "positive"])
        axes.legend()
    with _axes(directory / "kept_share.png", "kept share of the corpus", "share") as axes:
        _kept_share(axes, metrics["curve"])
    with _axes(directory / "importance.png", "PR-AUC lost when shuffled", "") as axes:
        _importance(axes, metrics["importance"])
    with _axes(directory / "leakage.png", "similarity to training", "test documents") as axes:
        leakage = metrics["leakage"]
        edges = np.linspace(0, leakage["max_similarity"], len(leakage["nearest_histogram"]) + 1)
        axes.stairs(leakage["nearest_histogram"], edges, fill=True)
        axes.axvline(leakage["max_similarity"], color="black", linestyle="--")
    found = metrics["learning_curve"]
    if found and found["points"]:
        with _axes(directory / "learning_curve.png", "training labels", "PR-AUC") as axes:
            _learning_curve(axes, found)


def _precision_recall(axes: Any, metrics: Metrics, judged: Judged) -> None:
    precision, recall, _ = precision_recall_curve(judged.positive, judged.score)
    axes.step(recall, precision, where="post", label="forest")
    axes.axhline(metrics["base_rate"], color="grey", linestyle=":", label="base rate")
    for (name, figures), mark in zip(metrics["baselines"].items(), "osv^D<>", strict=False):
        if figures is not None and name != "base rate":  # that one is a line
            axes.plot(figures["recall"], figures["precision"], mark, label=name)
    axes.plot(metrics["recall"], metrics["precision"], "k*", markersize=12, label="threshold")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.figure.legend(loc="outside lower center", ncols=2, fontsize=7)


def _calibration(axes: Any, bins: list[dict[str, Any]]) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    scores, shares = [b["score"] for b in bins], [b["positive_share"] for b in bins]
    axes.plot(scores, shares, color="lightgrey")
    # a point is as large as it is sure: its area is the number of its labels
    axes.scatter(scores, shares, [min(max(b["labels"], 4), 200) for b in bins], zorder=2)


def _kept_share(axes: Any, curve: list[dict[str, Any]]) -> None:
    kept = [point["kept_share"] for point in curve]
    for name in ("precision", "recall", "kept_share_bytes"):
        (line,) = axes.plot(kept, _numbers(p[name] for p in curve), label=name.replace("_", " "))
        low, high = (_numbers(p["intervals"][name][side] for p in curve) for side in (0, 1))
        axes.fill_between(kept, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    chosen = next(point for point in curve if point["chosen"])
    axes.axvline(chosen["kept_share"], color="black", linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()


def _importance(axes: Any, importance: dict[str, dict[str, float]]) -> None:
    shown = list(importance.items())[:MOST_BARS][::-1]
    lost = np.array([figures["lost"] for _, figures in shown])
    reach = [[max(f["lost"] - f["least"], 0) for _, f in shown],
             [max(f["most"] - f["lost"], 0) for _, f in shown]]  # fmt: skip
    axes.barh(range(len(shown)), lost, xerr=reach, error_kw={"elinewidth": 1})
    axes.set_yticks(range(len(shown)), [name.replace("_", " ") for name, _ in shown], fontsize=6)


def _learning_curve(axes: Any, found: dict[str, Any]) -> None:
    points = found["points"]
    labels, areas = [p["labels"] for p in points], [p["pr_auc"] for p in points]
    reach = [[max(p["pr_auc"] - p["least"], 0) for p in points],
             [max(p["most"] - p["pr_auc"], 0) for p in points]]  # fmt: skip
    axes.errorbar(labels, areas, reach, fmt="o", markersize=4, label="learned from so many")
    if found["fit"]:
        ahead = found["forecast"]
        n = np.geomspace(labels[0], ahead[-1]["labels"], 100)
        axes.plot(n, found["fit"]["a"] - found["fit"]["b"] * n ** -found["fit"]["c"], label="fit")
        bounds = [(f["pr_auc"] - f["interval"][0], f["interval"][1] - f["pr_auc"]) for f in ahead]
        reach = np.maximum(np.array(bounds).T, 0).tolist()
        axes.errorbar([f["labels"] for f in ahead], [f["pr_auc"] for f in ahead], reach,
                      fmt="s", markersize=4, label="forecast")  # fmt: skip
    axes.set_xscale("log")
    axes.legend(loc="lower right")


def _numbers(values: Iterator[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


@contextmanager
def _axes(path: Path, x: str, y: str) -> Iterator[Any]:
    """Axes to draw on; saved without a date, a display, or matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    yield axes
    axes.set(xlabel=x, ylabel=y)
    figure.savefig(path, metadata={"Software": None})
