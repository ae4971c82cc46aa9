"""What every benchmark shares: its command line, its rows, and the table that it prints.

A row is {"name", "value", "unit", "limit", "direction", "holds", "peers"}; `limit` is null where
nothing was promised. Timings of things that are compared come from one process and one run, in
turn, and the median is reported: a machine with neighbours slows them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Row:
    """One figure; `peers` are the same figure of others, by name."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    direction: Literal["max", "min"] = "max"  # the limit is a maximum, or a minimum
    peers: Mapping[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; null without one."""
        if self.limit is None:
            return None
        return self.value <= self.limit if self.direction == "max" else self.value >= self.limit


def arguments(description: str | None, **folders: str) -> argparse.Namespace:
    """--quick and --json, as every benchmark takes them; `folders` are options by their help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller measure, within 50 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    for name, told in folders.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=told)
    return parser.parse_args()


def medians(
    contenders: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, tuple[float, float]]:
    """Seconds of each contender, run in turn: (median, spread as a share of it)."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {
        name: (statistics.median(s), (max(s) - min(s)) / statistics.median(s))
        for name, s in seconds.items()
    }


def report(rows: list[Row], target: Path | None) -> None:
    """Print the rows, write them where asked, and exit 1 where a limit is broken."""
    for row in rows:
        limit = "" if row.limit is None else f"  ({row.direction} {row.limit:g}: {row.holds})"
        peers = "".join(f"; {name} {value:,.4g}" for name, value in row.peers.items())
        sys.stdout.write(f"{row.name}: {row.value:,.4g} {row.unit}{limit}{peers}\n")
    if target is not None:
        target.write_text(
            json.dumps([{**asdict(row), "holds": row.holds} for row in rows], indent=1) + "\n"
        )
    sys.exit(1 if any(row.holds is False for row in rows) else 0)
