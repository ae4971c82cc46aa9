"""Drift to look at: which columns of which strata differ, and what became of the scores.

The same verdicts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.drift import Counts, Reference, size_of
from classifiers.drift_verdict import Limits, StratumDrift

_COLUMNS, _STRATA, _SCORES = 20, 12, 3


def draw_drift(
    path: Path,
    reference: Reference,
    seen: Mapping[str, Counts],
    found: Sequence[StratumDrift],
    limits: Limits,
) -> None:
    """A map of the worst columns of the worst strata, and beside it the scores of the worst."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    judged = [stratum for stratum in found if stratum.columns][:_STRATA]
    shown = judged[:_SCORES]
    figure = Figure(figsize=(11, 4.4 + 0.2 * len(judged)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    widths = [4, *[1.2] * len(shown)]
    cells, *beside = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    if judged:
        _map(figure, cells, judged, limits)
    else:
        cells.text(0.5, 0.5, "too few documents to compare", ha="center")
        cells.set_axis_off()
    for axes, stratum in zip(beside, shown, strict=True):
        _scores(axes, reference, seen, stratum)
    figure.savefig(path, format="png", metadata={"Software": None})


def _map(figure: Any, axes: Any, judged: Sequence[StratumDrift], limits: Limits) -> None:
    worst: dict[str, float] = {}
    for stratum in judged:
        for column in stratum.columns:
            worst[column.name] = max(worst.get(column.name, -np.inf), column.excess)
    names = sorted(worst, key=lambda name: (-worst[name], name))[:_COLUMNS]
    cells = np.zeros((len(judged), len(names)))
    for row, stratum in zip(cells, judged, strict=True):
        of_name = {column.name: column for column in stratum.columns}
        row[:] = [max(of_name[name].excess, 0) for name in names]
    picture = axes.imshow(cells, cmap="Reds", vmin=0, vmax=2 * limits.psi_max, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(
        range(len(judged)), [f"{s.name} ({s.verdict})" for s in judged], fontsize=7
    )  # fmt: skip
    axes.set_title("PSI less that of chance", fontsize=8)
    figure.colorbar(picture, ax=axes, extend="max", shrink=0.8).ax.tick_params(labelsize=7)


def _scores(
    axes: Any, reference: Reference, seen: Mapping[str, Counts], stratum: StratumDrift
) -> None:
    """Shares of the reference's tenths; without drift they are alike."""
    column = reference.bins.names.index("score")
    now = seen.get(stratum.name)
    now = sum(seen.values(), start=np.zeros(reference.bins.shape, np.int64)) if now is None else now
    bins = len(reference.bins.begins[column]) + 1
    for counts, label, offset in ((reference.of(stratum.name), "then", -0.2), (now, "now", 0.2)):
        shares = counts[column, :bins] / max(size_of(counts), 1)
        axes.bar(np.arange(bins) + offset, shares, 0.4, label=label)
    begins = ["", *(f"{at:.2f}" for at in reference.bins.begins[column])]
    axes.set_xticks(range(bins), begins, rotation=90, fontsize=6)
    axes.tick_params(axis="y", labelsize=6)
    axes.set_title(f"score, {stratum.name}", fontsize=8)
    axes.legend(fontsize=6)
