"""Pictures of how diverse sets of texts are, as PNG files that are the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.diversity import HIGHER, MEASURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES_PNG = "diversity_measures.png"
TOPICS_PNG = "diversity_topics.png"
NEAREST_PNG = "diversity_nearest.png"
_COLUMNS = 3
_MOST_NAME_CHARS = 40


def plot_diversity(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the pictures that `pipeline.diversity_report` describes."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = report["sets"]
    measures = list(next(iter(sets.values()))["at_equal_size"])
    rows = -(-len(measures) // _COLUMNS)
    height = 0.6 + 0.28 * len(sets)
    with _figure(folder / MEASURES_PNG, (9.5, rows * (height + 0.4))) as figure:
        _measures(figure, sets, measures, rows)
    if report["topics"]:
        with _figure(folder / TOPICS_PNG, (7.5, 1.2 + 0.2 * len(report["topics"]))) as figure:
            _topics(figure, report)
    with _figure(folder / NEAREST_PNG, (6, 3.2)) as figure:
        _nearest(figure, sets)


def _measures(figure: Figure, sets: Mapping[str, Any], measures: list[str], rows: int) -> None:
    """A bar for each set under each measure, with the least and most of the draws."""
    colours = _colours(len(sets))
    cells = figure.subplots(rows, _COLUMNS, squeeze=False)
    for at, axes in enumerate(cells.ravel()):
        if at >= len(measures):
            axes.set_axis_off()
            continue
        for place, one in enumerate(sets.values()):
            spread = one["at_equal_size"][measures[at]]
            if spread:
                reach = [[max(spread["mean"] - spread["least"], 0)],
                         [max(spread["most"] - spread["mean"], 0)]]  # fmt: skip
                axes.barh([place], [spread["mean"]], xerr=reach, color=colours[place])
        axes.set_ylim(len(sets) - 0.4, -0.6)
        names = list(sets) if at % _COLUMNS == 0 else [""] * len(sets)
        axes.set_yticks(range(len(sets)), [_shown(name) for name in names], fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        better = "higher" if MEASURES[measures[at]] == HIGHER else "lower"
        axes.set_title(f"{measures[at].replace('_', ' ')} ({better}: more diverse)", fontsize=8)


def _topics(figure: Figure, report: Mapping[str, Any]) -> None:
    """The share of each topic in each set, the reference's largest topic first."""
    axes, names = figure.subplots(), report["topics"]
    sets = {name: one["topics"] for name, one in report["sets"].items() if one["topics"]}
    order = np.argsort(-np.array(sets[report["reference"]]), kind="stable")
    for (name, shares), colour in zip(sets.items(), _colours(len(sets)), strict=True):
        mark = "|" if name == report["reference"] else "o"
        axes.plot(
            np.array(shares)[order], range(len(order)), mark, color=colour, label=_shown(name),
            markersize=9 if mark == "|" else 4, markeredgewidth=2 if mark == "|" else 1,
        )  # fmt: skip
    axes.set_yticks(range(len(order)), [_shown(names[i]) for i in order], fontsize=7)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.grid(axis="y", linewidth=0.3)
    axes.set(xlabel="share of the pieces", title="topics of the reference")
    axes.legend(fontsize=8)


def _nearest(figure: Figure, sets: Mapping[str, Any]) -> None:
    """How similar the nearest earlier piece is, as a share of the pieces on a log scale."""
    axes = figure.subplots()
    for (name, one), colour in zip(sets.items(), _colours(len(sets)), strict=True):
        counts = np.array(one["nearest"], float)
        edges = np.linspace(0, 1, len(counts) + 1)
        axes.stairs(counts / max(counts.sum(), 1), edges, color=colour, label=_shown(name))
    axes.axvline(0.7, color="black", linestyle="--", linewidth=1)
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set(
        xlabel="similarity to the nearest earlier piece", ylabel="share of pieces", ylim=(0, 1.3)
    )
    axes.legend(fontsize=8)


def _colours(count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["tab10"](np.arange(count) % 10)


def _shown(name: str) -> str:
    # two dollars would make a formula of what stands between them
    return name.replace("_", " ").replace("$", r"\$")[:_MOST_NAME_CHARS]


@contextmanager
def _figure(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """A figure that is written at the end; the same bytes for the same figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    yield figure
    figure.savefig(path, dpi=110, metadata={"Software": None})
