"""Cross-entropy from the last stream and the output weights, without ever holding all logits.

Logits are the largest thing in training a small model: 131,072 tokens by 32,768 entries take 8 GiB
at 16 bits, their gradient as much again. Here they are made for a chunk of tokens at a time and,
while they are there, so are the gradients of the stream and of the weights, so nothing is computed
twice (the idea of Liger Kernel, arXiv 2410.10989). The loop over chunks is plain Python over one
compiled chunk: within a single compiled graph nothing would be saved. Value and gradients equal
those of PyTorch's cross_entropy up to the order of sums.

Shape suffixes: N tokens of all sequences, D model width, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = {"cuda": 2**29, "cpu": 2**22}  # 1 GiB at 16 bits, 16 MiB at 32
SMALLEST_CHUNK = 256  # tokens


def cross_entropy(
    x_BTD: Tensor,
    output_VD: Tensor,
    targets_BT: Tensor,
    weights_BT: Tensor | None = None,
    chunk_tokens: int | None = None,
) -> Tensor:
    """Mean nats of the targets, each counted by its weight; a weight of 0 leaves a token out."""
    x_ND, targets_N = x_BTD.flatten(0, -2), targets_BT.flatten()
    if weights_BT is None:
        weights_N = torch.full(targets_N.shape, 1 / len(targets_N), device=x_ND.device)
    else:
        weights_N = weights_BT.flatten().float()
        weights_N = weights_N / weights_N.sum().clamp(min=torch.finfo(torch.float32).tiny)
    chunk = chunk_tokens or fitting_chunk(len(x_ND), output_VD)
    if torch.is_grad_enabled() and (x_ND.requires_grad or output_VD.requires_grad):
        total: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            x_ND, output_VD, targets_N, weights_N, chunk
        )
        return total
    output_VD = output_VD.to(x_ND.dtype)
    rows = (x_ND, targets_N, weights_N)
    parts = zip(*(torch.split(part, chunk) for part in rows), strict=True)
    return torch.stack([_nats(x, output_VD, t, w)[0] for x, t, w in parts]).sum()


def fitting_chunk(tokens: int, output_VD: Tensor) -> int:
    """Tokens of a chunk, in equal parts, so that its logits stay within what there is to spare."""
    limit = CHUNK_LOGITS.get(output_VD.device.type, CHUNK_LOGITS["cpu"])
    largest = max(SMALLEST_CHUNK, limit // len(output_VD))
    return -(-tokens // -(-tokens // largest))


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Computes its gradients on the way forward, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, output_VD: Tensor, targets_N: Tensor, weights_N: Tensor, chunk: int
    ) -> Tensor:
        step = _compiled_step() if x_ND.is_cuda else _step
        total = x_ND.new_zeros((), dtype=torch.float32)
        x_grad_ND = torch.empty_like(x_ND)
        output_grad_VD = torch.zeros_like(output_VD, dtype=torch.float32)
        cast_VD = output_VD.to(x_ND.dtype)
        for start in range(0, len(x_ND), chunk):
            part = slice(start, start + chunk)
            nats, logits_grad_NV = step(x_ND[part], cast_VD, targets_N[part], weights_N[part])
            total += nats
            torch.mm(logits_grad_NV, cast_VD, out=x_grad_ND[part])
            output_grad_VD += logits_grad_NV.T @ x_ND[part]
        ctx.save_for_backward(x_grad_ND, output_grad_VD.to(output_VD.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_grad_ND, output_grad_VD = ctx.saved_tensors
        return x_grad_ND * grad, output_grad_VD * grad, None, None, None


def _nats(
    x_ND: Tensor, output_VD: Tensor, targets_N: Tensor, weights_N: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weighted nats of a chunk, its logits (N x V), and what is told of the target and in all."""
    logits_NV = x_ND @ output_VD.T
    sums_N = torch.logsumexp(logits_NV.float(), dim=-1)
    told_N = logits_NV.gather(1, targets_N[:, None])[:, 0].float()
    return ((sums_N - told_N) * weights_N).sum(), logits_NV, told_N, sums_N


def _step(
    x_ND: Tensor, output_VD: Tensor, targets_N: Tensor, weights_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted nats of a chunk and their gradient by its logits, softmax less one at the target."""
    nats, logits_NV, told_N, sums_N = _nats(x_ND, output_VD, targets_N, weights_N)
    others_NV = (logits_NV.float() - sums_N[:, None]).exp() * weights_N[:, None]
    target_N = ((told_N - sums_N).exp() - 1) * weights_N
    grad_NV = others_NV.to(x_ND.dtype)
    return nats, grad_NV.scatter_(1, targets_N[:, None], target_N[:, None].to(x_ND.dtype))


@functools.cache
def _compiled_step() -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(_step, dynamic=False)
