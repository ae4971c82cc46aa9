"""Rotary positions (arXiv 2104.09864): heads turned by an angle that grows with the position.

What two tokens make of each other then depends on how far apart they stand, not on where.

Shape suffixes: T tokens, C head width, B sequences, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from downstream.shape import Shape


def rotary(tokens: int, shape: Shape, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Cosines and sines of the positions, each T x C, halves laid side by side."""
    even_C = torch.arange(0, shape.head, 2, device=device).float()
    rates_C = shape.rope_theta ** (-even_C / shape.head)
    positions_T = torch.arange(tokens, device=device).float()
    angles_TC = torch.outer(positions_T, rates_C).repeat(1, 2)
    return angles_TC.cos(), angles_TC.sin()


def rotate(x_BHTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    """Heads turned by the angles of their positions, in 32 bits."""
    first, second = x_BHTC.chunk(2, dim=-1)
    turned_BHTC = torch.cat((-second, first), dim=-1)
    return (x_BHTC * cos_TC + turned_BHTC * sin_TC).type_as(x_BHTC)
