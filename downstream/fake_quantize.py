"""Quantization-aware training: the last steps see the weights as llama.cpp will round them.

The linear layers of the blocks compute with rounded weights, and the gradient goes to the weights
behind them as if nothing had been rounded (the straight-through estimator, arXiv 1308.3432). So
training finds weights that lose less when they are rounded for good. The rounding is llama.cpp's
own, bit for bit, for the two types whose rule is simple:

    Q4_0    blocks of 32 along a row; the scale is the value furthest from zero over -8, in 16 bits;
            steps -8 to 7
    Q8_0    the same blocks; the scale is the largest magnitude over 127; steps -127 to 127

torchao's QAT was tried and left: its 4-bit grids take the scale from magnitudes alone (over 7 or
7.5) and keep it in 32 bits, so that what it trains for is not what a Q4_0 file holds, and it swaps
modules, which changes the names that checkpoints and optimizers go by. Here a layer changes its
class only; parameters, their names and the optimizer's state stay, so it can begin at any step, and
a checkpoint of before resumes after.

Head and embeddings stay as they are: a Q4_0 file keeps them in 6 bits (or 8).
Cost: some passes over the weights each step, little beside a matrix product. What it brings:
docs/quantizing.md. Rules: quantize_row_q4_0_ref and quantize_row_q8_0_ref of ggml-quants.c.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InputError

TYPES = ("Q4_0", "Q8_0")
BLOCK = 32


class RoundedLinear(nn.Linear):
    """A linear layer that computes with rounded weights."""

    type_name: str

    def forward(self, x: Tensor) -> Tensor:
        # in value the rounded weights exactly, in gradient the weights
        seen = rounded(self.weight.detach(), self.type_name) + (self.weight - self.weight.detach())
        return functional.linear(x, seen, self.bias)


def fake_quantize(model: nn.Module, type_name: str) -> int:
    """From now on the blocks' linear layers see rounded weights; returns how many do."""
    if type_name not in TYPES:
        raise InputError("train", f"fake quantization to {type_name!r}", f"use one of {TYPES}")
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if type(layer) in {nn.Linear, RoundedLinear} and "layers." in name
    ]
    for name, layer in layers:
        if layer.weight.shape[1] % BLOCK:
            raise InputError(
                "train", f"{name} has rows of {layer.weight.shape[1]}",
                f"{type_name} has blocks of {BLOCK}; make the model's sizes a multiple of it",
            )  # fmt: skip
    for _, layer in layers:
        _become(layer, RoundedLinear)
        layer.type_name = type_name
    return len(layers)


@torch.no_grad()
def bake(model: nn.Module) -> None:
    """Round the weights for good and leave plain linear layers: what is saved is what was seen."""
    for layer in [layer for layer in model.modules() if isinstance(layer, RoundedLinear)]:
        layer.weight.copy_(rounded(layer.weight, layer.type_name))
        del layer.type_name
        _become(layer, nn.Linear)


def _become(layer: nn.Linear, kind: type[nn.Linear]) -> None:
    layer.__class__ = kind


def rounded(weight: Tensor, type_name: str) -> Tensor:
    """The weights as a file of this type holds them, in their own dtype; rows of blocks of 32."""
    blocks = weight.float().reshape(-1, BLOCK)
    if type_name == "Q4_0":
        scale = blocks.gather(1, blocks.abs().argmax(1, keepdim=True)) / -8
        steps = (blocks * _inverse(scale) + 8.5).trunc().clamp(0, 15) - 8
    else:
        scale = blocks.abs().amax(1, keepdim=True) / 127
        steps = _half_away_from_zero(blocks * _inverse(scale))
    return (steps * scale.half().float()).reshape(weight.shape).to(weight.dtype)


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)


def _half_away_from_zero(x: Tensor) -> Tensor:
    whole = x.abs().floor()
    return x.sign() * (whole + (2 * (x.abs() - whole)).floor())
