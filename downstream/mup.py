"""Maximal update parametrization: rates found on a narrow model hold for a wide one.

Yang et al., Tensor Programs V (arXiv 2203.03466). In the standard parametrization one step moves
activations the more the wider the model is, so every width needs its own rate. Here the sizes of
first weights and rates go with the width, relative to a base at which nothing changes:

                          first weights           rate of AdamW     rate of Muon
    matrices of blocks    std x sqrt(base/width)  x base/width      as it is
    embedding (and head)  as they are             as it is
    last norm's gain      base/width              x base/width
    other norms           one                     as it is

The last norm's gain takes the place of the paper's multiplier of the logits. For AdamW, which
normalizes gradients, that is the same thing, and the model stays a plain Llama that anyone loads.
Muon's update of a matrix has singular values near sqrt(rows / columns) or one, whatever the width:
the spectral condition (arXiv 2310.17813) that feature learning asks for, so only its first weights
are scaled. The head's width stays fixed, or attention would have to be scaled too; the other sizes
are taken to grow with the hidden size. Decay of AdamW's matrices is raised as their rate sinks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from downstream.model import Llama

LAST_GAIN = "norm.weight"


def is_matrix_of_block(name: str, parameter: Tensor) -> bool:
    """Whether these are weights between activations, which Muon moves and decay pulls to zero."""
    return parameter.ndim == 2 and "layers." in name


def is_last_gain(name: str) -> bool:
    """Whether this is the gain of the norm before the logits, also within a wrapper."""
    return name.removeprefix("module.") == LAST_GAIN


@torch.no_grad()
def initialize(model: Llama, seed: int, base_hidden: int) -> Llama:
    """First weights from a seed; at the base's width they are `Llama.initialize`'s."""
    ratio = base_hidden / model.shape.hidden
    model.initialize(seed)
    for name, parameter in model.named_parameters():
        if is_matrix_of_block(name, parameter):
            parameter.mul_(ratio**0.5)
        elif is_last_gain(name):
            parameter.fill_(ratio)
    return model


def adamw_rate_factor(name: str, parameter: Tensor, ratio: float) -> float:
    """What the rate of one of AdamW's parameters is multiplied by; ratio is base / width."""
    return ratio if is_matrix_of_block(name, parameter) or is_last_gain(name) else 1.0
