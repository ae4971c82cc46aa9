"""The loop that tunes a model on rows of examples: steps, checkpoints, and what is held out.

Every epoch reads all rows in a seeded order of its own. A step's loss is the mean over the learnt
tokens of all its rows, however many passes it takes to add them up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from downstream.parallel import World
from downstream.resume import Parts, load_checkpoint, save_checkpoint
from pipeline.errors import StageError

if TYPE_CHECKING:
    from downstream.answer_rows import Rows
    from downstream.finetune import FinetuneConfig
    from downstream.tuned_model import Tuned

STAGE = "finetune"


class Tuning:
    """A model, its optimizer and the rows that it learns."""

    def __init__(self, tuned: Tuned, rows: Rows, config: FinetuneConfig, checkpoint: Path) -> None:
        self.tuned, self.rows, self.config, self.checkpoint = tuned, rows, config, checkpoint
        self.parameters = [p for p in tuned.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=0.0, betas=(0.9, 0.95), weight_decay=config.weight_decay
        )
        self.steps_per_epoch = math.ceil(len(rows) / config.sequences_per_step)
        self.steps = self.steps_per_epoch * config.epochs
        self.losses_nats: list[float] = []
        self.plan = ""
        torch.manual_seed(config.seed)  # of dropout, where there is some

    def resume(self, plan: str) -> None:
        """Go on from the checkpoint, where there is one; `plan` names this very tuning."""
        self.plan = plan
        if self.checkpoint.exists():
            self.losses_nats = load_checkpoint(self.checkpoint, self._parts(), plan)["losses_nats"]

    def run(self, advance: Callable[..., None]) -> list[float]:
        """Take all steps that are left; the losses of all."""
        advance(len(self.losses_nats))
        self.tuned.train()
        for step in range(len(self.losses_nats), self.steps):
            loss_nats = self._step(step)
            if not math.isfinite(loss_nats):
                raise StageError(
                    STAGE, f"the loss became {loss_nats} at step {step}", "lower learning_rate"
                )
            self.losses_nats.append(loss_nats)
            advance(1, note=f"loss {loss_nats:.3f} nats")
            if (step + 1) % self.config.checkpoint_steps == 0:
                progress = {"losses_nats": self.losses_nats}
                save_checkpoint(self.checkpoint, self._parts(), progress, self.plan)
        return self.losses_nats

    def measure(self, rows: Rows) -> float:
        """Mean nats of the learnt tokens of some rows."""
        self.tuned.eval()
        with torch.no_grad():
            passes = torch.split(torch.arange(len(rows)), self.config.sequences_at_once)
            return sum(self._loss_share(rows, chosen, rows.learnt_tokens)[1] for chosen in passes)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: up, then evenly down to nothing."""
        warmup_steps = self.config.warmup_share * self.steps
        warm = min(1.0, (step + 1) / max(1.0, warmup_steps))
        falling = (self.steps - step) / max(1.0, self.steps - warmup_steps)
        return self.config.learning_rate * min(warm, falling, 1.0)

    def _step(self, step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(step)
        rows = self._rows_of(step)
        tokens = int(self.rows.weights[rows].sum())
        loss_nats = 0.0
        for chosen in torch.split(rows, self.config.sequences_at_once):
            loss, part_nats = self._loss_share(self.rows, chosen, tokens)
            loss.backward()  # type: ignore[no-untyped-call]
            loss_nats += part_nats
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss_nats

    def _loss_share(
        self, rows: Rows, chosen: torch.Tensor, tokens: int
    ) -> tuple[torch.Tensor, float]:
        """What these rows add to the mean over so many tokens, to derive and as a number."""
        device = self.parameters[0].device
        ids_BT = rows.ids[chosen].long().to(device)
        weights_BT = rows.weights[chosen].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            mean = self.tuned.loss_nats(ids_BT, rows.separator, weights_BT)
        share = mean * (int(weights_BT.sum()) / tokens)
        return share, float(share.detach())

    def _rows_of(self, step: int) -> torch.Tensor:
        epoch, turn = divmod(step, self.steps_per_epoch)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000 + epoch)
        size = self.config.sequences_per_step
        return torch.randperm(len(self.rows), generator=generator)[turn * size : (turn + 1) * size]

    def _parts(self) -> Parts:
        """What a checkpoint holds: the weights that move, and not the frozen ones."""
        moving = nn.ParameterList(self.parameters)
        return Parts(moving, [self.optimizer], World(0, 1, self.parameters[0].device))
