"""Where figures stand in a picture: coordinates for an SVG that a template draws.

The picture is part of the page, so it has the page's colours, is sharp at any size, needs no
script, and its numbers stand beside it in a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 12, 42
TICKS = 5


@dataclass(frozen=True)
class Axes:
    """Two linear axes from 0; `highest` values stand at the right and at the top."""

    x_highest: float = 1.0
    y_highest: float = 1.0

    @property
    def box(self) -> str:
        """The SVG's viewBox."""
        return f"0 0 {WIDTH} {HEIGHT}"

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return round(LEFT + self._share(value, self.x_highest) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        high = HEIGHT - TOP - BOTTOM
        return round(TOP + (1 - self._share(value, self.y_highest)) * high, 1)

    def points(self, rows: Iterable[Mapping[str, Any]], x: str, y: str) -> str:
        """A polyline through two columns of a table; rows where one is unknown are left out."""
        pairs = ((row.get(x), row.get(y)) for row in rows)
        return " ".join(
            f"{self.x(across)},{self.y(up)}"
            for across, up in pairs
            if across is not None and up is not None
        )

    @property
    def x_ticks(self) -> list[tuple[float, float]]:
        """(value, pixels) of the marks below."""
        return [(v, self.x(v)) for v in _ticks(self.x_highest)]

    @property
    def y_ticks(self) -> list[tuple[float, float]]:
        """(value, pixels) of the marks at the left."""
        return [(v, self.y(v)) for v in _ticks(self.y_highest)]

    @staticmethod
    def _share(value: float, highest: float) -> float:
        return min(1.0, max(0.0, value / highest)) if highest > 0 else 0.0


def _ticks(highest: float) -> list[float]:
    """Round values from 0 up to the highest, about `TICKS` of them."""
    rough = highest / TICKS
    if rough <= 0 or not math.isfinite(rough):
        return [0.0]
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * 0.999)
    return [round(i * step, 10) for i in range(int(highest / step * 1.001) + 1)]
