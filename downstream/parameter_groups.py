"""Which parameters move together: matrices of the blocks, and the rest, by rate and decay.

Matrices of the blocks alone decay; embeddings, the head and the gains of norms do not.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from downstream.mup import adamw_rate_factor, is_matrix_of_block

Named = list[tuple[str, Tensor]]


def matrices_and_others(model: nn.Module) -> tuple[Named, Named]:
    """The trainable matrices of the blocks, and all other trainable parameters."""
    matrices: Named = []
    others: Named = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if is_matrix_of_block(name, parameter) else others).append((name, parameter))
    return matrices, others


def adamw_groups(
    named: Named, peak_lr: float, weight_decay: float, ratio: float = 1.0
) -> list[dict[str, Any]]:
    """Groups for AdamW; `ratio` is base width / width under maximal update parametrization."""
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        factor = adamw_rate_factor(name, parameter, ratio)
        decay = weight_decay / ratio if is_matrix_of_block(name, parameter) else 0.0
        rate = peak_lr * factor
        group = {"params": [], "lr": rate, "peak_lr": rate, "weight_decay": decay}
        groups.setdefault((rate, decay), group)["params"].append(parameter)
    return list(groups.values())
