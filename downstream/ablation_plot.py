"""The differences between arms as a picture: a dot and its interval for each pair and subset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downstream.ablation import Difference


def plot(told: Mapping[str, Sequence[Difference]], path: Path) -> None:
    """One panel for each subset that was measured before quantization; a colour for each form."""
    from matplotlib.figure import Figure

    subsets = list(dict.fromkeys(d.subset for d in next(iter(told.values()))))
    figure = Figure(figsize=(9, 1.4 * len(subsets)), layout="constrained")
    panels = figure.subplots(len(subsets), 1, squeeze=False, sharex=True)[:, 0]
    for panel, subset in zip(panels, subsets, strict=True):
        names: list[str] = []
        for number, (form, differences) in enumerate(told.items()):
            for d in (d for d in differences if d.subset == subset):
                name = f"{d.first} - {d.second}"
                if name not in names:
                    names.append(name)
                place = -names.index(name) - 0.13 * number
                panel.plot([d.low, d.high], [place, place], color=f"C{number}", linewidth=1.2)
                first = names.index(name) == 0 and panel is panels[0]
                panel.plot(
                    d.bits_per_byte, place, "o", color=f"C{number}", markersize=4,
                    label=form if first else None,
                )  # fmt: skip
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set_yticks([-i - 0.2 for i in range(len(names))], names, fontsize=8)
        panel.set_title(subset, fontsize=9, loc="left")
    panels[0].legend(fontsize=8, loc="best")
    panels[-1].set_xlabel("difference in bits per byte (below zero: the first arm is better)")
    figure.savefig(path, dpi=110, metadata={"Software": None})
