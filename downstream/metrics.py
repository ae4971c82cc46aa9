"""What a training writes down while it runs, and what a person watches.

`metrics.jsonl` has a row a step: step, tokens, loss_nats, gradient_norm, a learning rate for each
optimizer, and bits_per_byte where the held-out text was scored. It depends on nothing but the
training: after a crash or a rollback it is cut to the checkpoint's length and goes on. How fast it
went stands apart in `timing.jsonl` (step, seconds, tokens_per_s, mfu), which two runs never share.
`loss.png` is drawn again now and then. `mfu` is the share of the accelerator's published dense
bfloat16 rate that the model's own operations take, and null where that rate is not known: a share
of a CPU's rate would mislead.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

PLOT_EVERY_S = 30.0
# Dense bfloat16 operations a second, from the makers' data sheets, by a part of the device's name.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10G": 70e12}


def peak_flops_of(device_name: str | None) -> float | None:
    """The published rate of an accelerator, or None."""
    if device_name is None or "NVL" in device_name or "PCIe" in device_name:  # clocked lower
        return None
    return next((peak for name, peak in PEAK_FLOPS.items() if name in device_name), None)


@dataclass
class Metrics:
    """The files of one training; opened where a checkpoint, if any, left them."""

    folder: Path
    arm: str
    steps: int
    tokens_per_step: int
    flops_per_step: float
    peak_flops: float | None = None  # of all devices together
    tensorboard: bool = False
    steps_here: int = 0
    _board: SummaryWriter | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "metrics.jsonl"
        self._began = self._last = self._plotted = time.perf_counter()
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"))

    def open_at(self, size_bytes: int) -> None:
        """Go on from this length, which a checkpoint states; 0 begins anew."""
        with self.path.open("ab") as file:
            if file.tell() < size_bytes:
                raise StageError(
                    "train", f"{self.path} is shorter than its checkpoint says",
                    "delete the checkpoint beside it, and train from the beginning",
                )  # fmt: skip
            file.truncate(size_bytes)

    def size_bytes(self) -> int:
        """The length so far, flushed to the disk: a checkpoint may rely on it."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def write(self, row: dict[str, Any]) -> str:
        """Add a step's row and its timing; returns the line that a person watches."""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self.steps_here += 1
        speed = self.tokens_per_step / seconds
        timing = {
            "step": row["step"],
            "seconds": round(seconds, 4),
            "tokens_per_s": round(speed),
            "mfu": self.mfu(seconds),
        }
        with (self.folder / "timing.jsonl").open("a") as file:
            file.write(json.dumps(timing) + "\n")
        if self._board is not None:
            for name, value in {**row, "tokens_per_s": speed}.items():
                if value is not None:  # no held-out document fitted
                    self._board.add_scalar(name, value, row["step"])
        if now - self._plotted > PLOT_EVERY_S:
            self.plot()
            self._plotted = now
        left_s = (self.steps - row["step"] - 1) * self.seconds() / self.steps_here
        return (
            f"loss {row['loss_nats']:.3f} nats, {self.tokens_per_s():,.0f} tokens/s, "
            f"{timedelta(seconds=round(left_s))} left"
        )

    def mfu(self, step_seconds: float) -> float | None:
        """The share of the peak that a step of so many seconds takes."""
        if self.peak_flops is None:
            return None
        return round(self.flops_per_step / step_seconds / self.peak_flops, 4)

    def tokens_per_s(self) -> float:
        """The mean speed since the beginning, or since it was resumed."""
        return self.steps_here * self.tokens_per_step / self.seconds()

    def seconds(self) -> float:
        """Seconds since the beginning, or since it was resumed."""
        return time.perf_counter() - self._began

    def rows(self) -> list[dict[str, Any]]:
        """Every step's row so far."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def plot(self) -> None:
        """Draw the loss, and the held-out bits per byte where there are some."""
        from matplotlib.figure import Figure

        rows = self.rows()
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        thin = rows[:: max(1, len(rows) // 4_000)]
        axes.plot([r["step"] for r in thin], [r["loss_nats"] for r in thin], linewidth=0.8)
        axes.set(xlabel="step", ylabel="loss (nats a token)", title=f"arm {self.arm}")
        scored = [r for r in rows if r.get("bits_per_byte") is not None]
        if scored:
            beside = axes.twinx()
            beside.plot(
                [r["step"] for r in scored], [r["bits_per_byte"] for r in scored], "o-",
                color="tab:orange", markersize=3,
            )  # fmt: skip
            beside.set_ylabel("held out (bits a byte)", color="tab:orange")
        temporary = self.folder / ".loss.png"
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
        temporary.rename(self.folder / "loss.png")

    def close(self) -> None:
        """Draw the last plot and close what is open."""
        self.plot()
        if self._board is not None:
            self._board.close()
