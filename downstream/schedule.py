"""The learning rate over the steps: warm up, stay, decay to zero (MiniCPM, arXiv 2404.06395).

The decay is when the annealing data is read. Straight to zero is the default, which was found best
at these ratios of tokens to parameters (Bergsma et al., arXiv 2502.15938); `one_minus_sqrt` is the
form of Haegele et al. (arXiv 2405.18392).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Decay = Literal["linear", "cosine", "one_minus_sqrt"]


@dataclass(frozen=True)
class Schedule:
    """Rates of a training of so many steps, as shares of the peak."""

    steps: int
    warmup_share: float
    decay_share: float
    decay: Decay = "linear"

    @property
    def decay_steps(self) -> int:
        """Steps on the annealing data, at least one."""
        return max(1, round(self.steps * self.decay_share))

    @property
    def base_steps(self) -> int:
        """Steps before the decay, on the base data."""
        return self.steps - self.decay_steps

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, as a share of the peak; above 0 at every step."""
        warm = min(1.0, (step + 1) / max(1.0, self.steps * self.warmup_share))
        left = min(1.0, (self.steps - step) / (self.decay_steps + 1))
        return min(warm, _fallen(left, self.decay))


def _fallen(left: float, decay: Decay) -> float:
    if decay == "cosine":
        return (1 - math.cos(math.pi * left)) / 2
    if decay == "one_minus_sqrt":
        return 1 - math.sqrt(1 - left)
    return left
