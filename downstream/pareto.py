"""Which quantizations are worth a thought: those that no other beats in both of two respects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points (both coordinates to be small) that none dominates.

    A point dominates another if it is no worse in both and better in one.
    """
    return [
        i
        for i, one in enumerate(points)
        if not any(other[0] <= one[0] and other[1] <= one[1] and other != one for other in points)
    ]


def plot_pareto(path: Path, models: Sequence[dict[str, Any]]) -> bool:
    """Bits per byte against decode speed and against file size, a front in each; False if empty."""
    from matplotlib.figure import Figure

    shown = [model for model in models if model["bits_per_byte"] is not None]
    if not shown:
        return False
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_ylabel("bits per byte of held-out text")
    for axes, name, sign, label in (
        (left, "decode_tokens_per_s", -1, "decoded tokens a second"),
        (right, "file_mib", 1, "MiB of the file"),
    ):
        best = front([(sign * model[name], model["bits_per_byte"]) for model in shown])
        for arm in dict.fromkeys(model["arm"] for model in shown):
            own = [model for model in shown if model["arm"] == arm]
            axes.plot([m[name] for m in own], [m["bits_per_byte"] for m in own], ".", label=arm)
        line = sorted((shown[i][name], shown[i]["bits_per_byte"]) for i in best)
        axes.plot(*zip(*line, strict=True), color="gray", linewidth=1, zorder=0)
        for i in best:
            axes.annotate(
                shown[i]["type"], (shown[i][name], shown[i]["bits_per_byte"]), fontsize=7,
                xytext=(3, 3), textcoords="offset points",
            )  # fmt: skip
        axes.set_xlabel(label)
    if len({model["arm"] for model in shown}) > 1:
        left.legend(fontsize=7)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True
