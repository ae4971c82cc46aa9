"""Ways of merging a tensor of several models into one, as pure functions.

- linear: the weighted mean ("model soups", arXiv 2203.05482).
- SLERP: along the great circle between two directions (Shoemake 1985,
  https://doi.org/10.1145/325165.325242), with the lengths mixed alike.
- TIES (arXiv 2306.01708): of each model's difference from the base the largest share is kept; the
  models elect a sign for every weight, and those that agree with it are averaged.
- DARE (arXiv 2311.03099): most of each difference is dropped at random and the rest enlarged, so
  that its expectation stays; then the differences are averaged, with signs elected or not.

Weights are relative: (1, 1) and (0.5, 0.5) are the same. All is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_PARALLEL = 0.9995  # of the cosine: beyond it the sine that is divided by is mostly rounding


def linear(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean."""
    total = torch.zeros_like(tensors[0], dtype=torch.float32)
    for tensor, weight in zip(tensors, weights, strict=True):
        total += tensor.float() * (weight / sum(weights))
    return total


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """From the first (share 0) to the second (share 1), at a steady angle."""
    a, b = first.float(), second.float()
    lengths = float(a.norm() * b.norm())
    cosine = float((a * b).sum()) / lengths if lengths > 0 else 1.0
    if abs(cosine) > _PARALLEL:
        return (1 - share) * a + share * b
    angle = math.acos(cosine)
    from_a, from_b = math.sin((1 - share) * angle), math.sin(share * angle)
    return (from_a * a + from_b * b) / math.sin(angle)


def ties(
    base: Tensor, tensors: Sequence[Tensor], weights: Sequence[float], density: float, scale: float
) -> Tensor:
    """Trim, elect signs, average what agrees; `density` is the share that is kept."""
    trimmed = [_largest(tensor.float() - base.float(), density) for tensor in tensors]
    return base.float() + scale * _elected_mean(trimmed, weights)


def dare(
    base: Tensor,
    tensors: Sequence[Tensor],
    weights: Sequence[float],
    density: float,
    scale: float,
    elect_signs: bool,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Drop and rescale, then average; `density` is the share that is kept, on average."""
    kept = []
    for tensor, generator in zip(tensors, generators, strict=True):
        delta = tensor.float() - base.float()
        stays = torch.rand(delta.shape, generator=generator) < density
        kept.append(delta * stays / density)
    mixed = _elected_mean(kept, weights) if elect_signs else linear(kept, weights)
    return base.float() + scale * mixed


def _largest(delta: Tensor, density: float) -> Tensor:
    """The share of largest size and at least one, the rest zero; of equals the first ones stay."""
    count = max(1, int(density * delta.numel()))
    order = delta.abs().flatten().argsort(descending=True, stable=True)
    result = torch.zeros_like(delta).flatten()
    result[order[:count]] = delta.flatten()[order[:count]]
    return result.view_as(delta)


def _elected_mean(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean of those whose sign is that of the weighted sum; zeros have no say."""
    total = linear(deltas, weights)
    sign = torch.where(total >= 0, 1.0, -1.0)
    mixed, voices = torch.zeros_like(total), torch.zeros_like(total)
    for delta, weight in zip(deltas, weights, strict=True):
        agrees = delta.sign() == sign
        mixed += weight * delta * agrees
        voices += weight * agrees
    return mixed / voices.where(voices > 0, 1.0)
