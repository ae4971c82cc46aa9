"""How weights are moved: by Muon those of the blocks and by AdamW the rest, or all by AdamW.

AdamW is fused on a GPU. Every group of parameters holds its `peak_lr`; the schedule sets a share of
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.config import Section

if TYPE_CHECKING:
    from torch import nn
    from torch.distributed import ProcessGroup
    from torch.optim import Optimizer


class OptimizerConfig(Section):
    """Which optimizers move the weights, and how far."""

    matrices: Literal["muon", "adamw"] = Field(
        "muon", description="What moves the matrices of the blocks."
    )
    muon_learning_rate: float = Field(
        0.02, gt=0, le=1, description="Peak rate of the matrices, where Muon moves them."
    )
    adamw_learning_rate: float = Field(
        0.004, gt=0, le=1, description="Peak rate of what AdamW moves."
    )
    weight_decay: float | None = Field(
        None, gt=0, le=1, description="Decay of the matrices a step, times the rate; null for none."
    )
    muon_momentum: float = Field(0.95, ge=0, lt=1, description="Share of the past in Muon's step.")
    newton_schulz_steps: int = Field(
        5, ge=1, le=20, description="Steps that make Muon's matrices orthogonal."
    )
    adamw_betas: tuple[float, float] = Field(
        (0.9, 0.95), description="Share of the past in AdamW's mean and mean square."
    )
    adamw_epsilon: float = Field(
        1e-8, gt=0, le=1, description="Added to AdamW's root mean square gradient."
    )
    mup_base_hidden: int | None = Field(
        None, ge=1,
        description="Width at which the rates were found, for maximal update parametrization; "
        "null for the standard one.",
    )  # fmt: skip


def make_optimizers(
    model: nn.Module, config: OptimizerConfig, group: ProcessGroup | None = None
) -> list[Optimizer]:
    """The optimizers of a model that stands on its device; `group` shares Muon's work out."""
    import torch

    from downstream.muon import Muon
    from downstream.parameter_groups import adamw_groups, matrices_and_others

    matrices, others = matrices_and_others(model)
    decay = config.weight_decay or 0.0
    ratio = config.mup_base_hidden / _hidden(model) if config.mup_base_hidden else 1.0
    optimizers: list[Optimizer] = []
    if config.matrices == "muon" and matrices:
        rate = config.muon_learning_rate
        moved = {"params": [p for _, p in matrices], "lr": rate, "peak_lr": rate}
        optimizers.append(
            Muon([moved], rate, decay, config.muon_momentum, config.newton_schulz_steps, group)
        )
    else:
        others = matrices + others
    if others:
        optimizers.append(
            torch.optim.AdamW(
                adamw_groups(others, config.adamw_learning_rate, decay, ratio),
                betas=config.adamw_betas, eps=config.adamw_epsilon, fused=others[0][1].is_cuda,
            )
        )  # fmt: skip
    return optimizers


def set_rate(optimizers: Iterable[Optimizer], share: float) -> None:
    """Set every rate to a share of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share


def _hidden(model: nn.Module) -> int:
    gain = next(p for name, p in model.named_parameters() if name.endswith("norm.weight"))
    return gain.shape[0]
