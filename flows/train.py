"""What `primer train` does: one model from a handoff in this process, and its figures on screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

UNITS = {
    "parameters": "weights", "steps": "steps", "tokens": "tokens", "loss_first_nats": "nats",
    "loss_last_nats": "nats", "bits_per_byte": "bits a held-out byte", "seconds": "s",
    "tokens_per_s": "tokens/s", "mfu": "of the device's peak", "peak_mem_gib": "GiB",
}  # fmt: skip


def train_from_handoff(
    console: Console, handoff: Path, arm: str, out: Path, preset: str | None,
    changes: Iterable[str], seed: int,
) -> None:  # fmt: skip
    """Train one arm of a handoff into the directory `out`, and print what came of it."""
    from downstream.launch import train_directory
    from downstream.parallel import start_world

    figures = train_directory(handoff, arm, out, preset, changes, seed, start_world())
    console.print(_table(figures))
    for rollback in figures["rollbacks"]:
        console.print(f"rolled back at step {rollback['step']}: {rollback['reason']}", markup=False)
    console.print(f"the model, its metrics and samples.md are in {out}", markup=False)


def _table(figures: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, unit in UNITS.items():
        value = figures.get(name)
        if value is not None:
            shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
            table.add_row(name.replace("_", " "), shown, unit)
    return table
