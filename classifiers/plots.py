"""The report's four plots, as PNG files that are the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve

if TYPE_CHECKING:
    from classifiers.report import Judged, Metrics

PLOTS = ("precision_recall", "calibration", "scores", "kept_share")


def draw(directory: Path, metrics: Metrics, judged: Judged) -> None:
    """Write one PNG for each name in `PLOTS`."""
    with _axes(directory / "precision_recall.png", "recall", "precision") as axes:
        precision, recall, _ = precision_recall_curve(judged.positive, judged.score)
        axes.step(recall, precision, where="post", label="forest")
        axes.axhline(metrics["base_rate"], color="grey", linestyle=":", label="base rate")
        for (name, figures), mark in zip(metrics["baselines"].items(), "osv^D<>", strict=False):
            if figures is not None and name != "base rate":  # that one is a line
                axes.plot(figures["recall"], figures["precision"], mark, label=name)
        axes.plot(metrics["recall"], metrics["precision"], "k*", markersize=12, label="threshold")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    with _axes(directory / "calibration.png", "score", "share of positive labels") as axes:
        bins = metrics["calibration"]
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        shares = [b["positive_share"] for b in bins]
        axes.plot([b["score"] for b in bins], shares, color="lightgrey")
        # a point is as large as it is sure: its area is the number of its labels
        sizes = [min(max(b["labels"], 4), 200) for b in bins]
        axes.scatter([b["score"] for b in bins], shares, sizes, zorder=2)
    with _axes(directory / "scores.png", "score", "labels") as axes:
        edges = np.linspace(0, 1, 21).tolist()
        parts = [judged.score[~judged.positive], judged.score[judged.positive]]
        axes.hist(parts, edges, stacked=True, label=["negative", "positive"])
        axes.legend()
    with _axes(directory / "kept_share.png", "kept share of the corpus", "share") as axes:
        curve = metrics["curve"]
        kept = [point["kept_share"] for point in curve]
        for name in ("precision", "recall", "kept_share_bytes"):
            axes.plot(kept, [point[name] for point in curve], label=name.replace("_", " "))
        axes.legend()


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
