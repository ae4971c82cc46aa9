"""The card's pictures: what became of the rows, how documents score, what the labels are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.drift_report import PICTURE
from pipeline.records import read_batches
from pipeline.stage import Sealed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CURVE = "report/kept_share.png"  # of the filter's report


def plot_card(folder: Path, needs: Mapping[str, Sealed]) -> None:
    """Write waterfall.png and scores.png, and copy the stages' own plots."""
    folder.mkdir(parents=True, exist_ok=True)
    with _picture(folder / "waterfall.png", (7, 3.5)) as axes:
        _waterfall(axes, needs)
    with _picture(folder / "scores.png", (6, 3)) as axes:
        _scores(axes, needs)
    for name in ("labels.png", "agreement.png", "unlabelled.png"):
        _copy(needs["label"], name, folder / name)
    _copy(needs["clean"], "waterfall.png", folder / "cleaning.png")
    for stage, name in (("train-filter", CURVE), ("apply-filter", PICTURE)):
        if name in needs[stage].manifest.files:
            _copy(needs[stage], name, folder / Path(name).name)


def _copy(sealed: Sealed, name: str, path: Path) -> None:
    path.write_bytes(sealed.file(name).read_bytes())


class _picture:  # noqa: N801  # reads as a verb where it is used
    def __init__(self, path: Path, inches: tuple[float, float]) -> None:
        from matplotlib.figure import Figure

        self.path, self.figure = path, Figure(figsize=inches, layout="constrained")

    def __enter__(self) -> Axes:
        return self.figure.subplots()

    def __exit__(self, *_: object) -> None:
        self.figure.savefig(self.path, dpi=110, metadata={"Software": None})


def _waterfall(axes: Axes, needs: Mapping[str, Sealed]) -> None:
    names = [name for name in needs if name in {"ingest", "clean", "apply-filter", "decontaminate"}]
    left = np.zeros(len(names))
    for part in ("kept", "dropped", "failed"):
        counts = np.array([_count(needs[name], part) for name in names], float)
        axes.barh(names, counts, left=left, label=part)
        left += counts
    axes.invert_yaxis()
    axes.set(xlabel="rows in", title="what became of the rows")
    axes.legend()


def _count(sealed: Sealed, part: str) -> int:
    value: Any = getattr(sealed.ledger, part)
    return value if isinstance(value, int) else sum(value.values())


def _scores(axes: Axes, needs: Mapping[str, Sealed]) -> None:
    files = needs["apply-filter"].files("scores/*.parquet")
    scores = [b["score"].to_numpy() for b in read_batches(files, ["score"])]
    axes.hist(np.concatenate(scores), bins=40, range=(0, 1))
    axes.axvline(needs["train-filter"].facts["threshold"], color="black", linestyle="--")
    axes.set(xlabel="score", ylabel="documents", title="scores, and the threshold")
