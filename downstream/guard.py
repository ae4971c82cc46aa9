"""The guard: sees a step that went wrong, so that the loop goes back and leaves its windows out.

A step is bad when its loss or gradient is no number, when its loss is more than twice a blind
guess's, or when either is far over what is usual: in logarithms, more than `max_deviations` over
the running median of the last `window_steps` good steps. A deviation is 1.4826 times the median
absolute deviation (which is the standard deviation of a bell curve, and is not moved by the spikes
themselves), but at least 10 % for the loss and 25 % for the norm, whose tails are heavy where
batches are small: 2.2 and 7.4 times the median always pass. OLMo skips steps by the same idea (6
standard deviations over 128 steps, `SkipStepOptimizer` of OLMo-core).

What is done about it is PaLM's remedy (arXiv 2204.02311, section 5.1): back to the last checkpoint,
and on without the batches that did it. The first try leaves out the bad step's windows; a further
try in a row leaves out all since the checkpoint, for a loss can rise some steps after its cause.
After `max_tries` in a row the training stops and says why.

All of it depends on losses and norms alone, so a resumed run meets the same trouble and does the
same. It costs some microseconds a step.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from pipeline.config import Section
from pipeline.errors import StageError

MAD_OF_A_BELL = 1.4826
LEAST_DEVIATION = {"loss": 0.1, "gradient's norm": 0.25}
LEAST_STEPS = 32  # fewer tell no median worth its name


class GuardConfig(Section):
    """When a step counts as bad, and how often to try again."""

    max_deviations: float | None = Field(
        8.0,
        gt=1,
        description="Robust deviations of the logarithm over the running median; null: only what "
        "is no number or worse than twice a blind guess.",
    )
    window_steps: int = Field(128, ge=LEAST_STEPS, le=100_000, description="Steps of the median.")
    max_tries: int = Field(3, ge=0, le=100, description="Rollbacks in a row before it stops.")


@dataclass(frozen=True)
class Trouble:
    """A bad step."""

    step: int
    reason: str


@dataclass
class Guard:
    """What was usual so far, and what was done about what was not."""

    config: GuardConfig
    blind_nats: float
    losses: deque[float] = field(init=False)
    norms: deque[float] = field(init=False)
    tries: int = 0
    rollbacks: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.losses = deque(maxlen=self.config.window_steps)
        self.norms = deque(maxlen=self.config.window_steps)

    def judge(self, step: int, loss_nats: float, gradient_norm: float) -> Trouble | None:
        """The trouble with a step, or None, and then it counts as usual."""
        reason = self._reason(loss_nats, gradient_norm)
        if reason is not None:
            return Trouble(step, reason)
        self.losses.append(math.log(max(loss_nats, 1e-12)))
        self.norms.append(math.log(max(gradient_norm, 1e-12)))
        return None

    def _reason(self, loss_nats: float, gradient_norm: float) -> str | None:
        if not loss_nats < 2 * self.blind_nats:  # a NaN is not less either
            return (
                f"the loss became {loss_nats:.4g} nats, where a blind guess has "
                f"{self.blind_nats:.4g}"
            )
        if not math.isfinite(gradient_norm):
            return f"the gradient's norm became {gradient_norm}"
        for what, value, usual in (
            ("loss", loss_nats, self.losses),
            ("gradient's norm", gradient_norm, self.norms),
        ):
            over = self._far_over(value, usual, LEAST_DEVIATION[what])
            if over is not None:
                return f"the {what} became {value:.4g}, {over:.1f} times its running median"
        return None

    def _far_over(self, value: float, usual: deque[float], least: float) -> float | None:
        """How many times the median a value is, if that is far over it."""
        if self.config.max_deviations is None or len(usual) < LEAST_STEPS:
            return None
        middle = statistics.median(usual)
        spread = MAD_OF_A_BELL * statistics.median(abs(x - middle) for x in usual)
        over = math.log(max(value, 1e-12)) - middle
        if over <= self.config.max_deviations * max(spread, least):
            return None
        return math.exp(over)

    def roll_back(self, trouble: Trouble, to_step: int) -> range:
        """Count the trouble and name the steps whose windows to leave out; StageError when it is
        one too many."""
        self.tries += 1
        if self.tries > self.config.max_tries:
            tried = f", again after {self.tries - 1} rollbacks" if self.tries > 1 else ""
            raise StageError(
                "train", f"{trouble.reason} at step {trouble.step}{tried}",
                "lower train.optimizer's learning rates, or lengthen train.warmup_share",
            )  # fmt: skip
        first = trouble.step if self.tries == 1 else to_step
        self.rollbacks.append(
            {
                "step": trouble.step,
                "reason": trouble.reason,
                "rolled_back_to_step": to_step,
                "skipped_batches": trouble.step + 1 - first,
            }
        )
        return range(first, trouble.step + 1)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `tries` starts anew after each."""
        return {
            "losses": list(self.losses),
            "norms": list(self.norms),
            "rollbacks": self.rollbacks,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.losses.clear()
        self.losses.extend(state["losses"])
        self.norms.clear()
        self.norms.extend(state["norms"])
        self.rollbacks = list(state["rollbacks"])
