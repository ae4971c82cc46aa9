"""What the compiler does badly on a GPU: parallel projections joined into one matrix product.

Queries, keys and values are one product of the stream, gate and up another: larger products run
nearer to what the card can do, and their backward passes need no sums of parts. But the gradients
have to be laid side by side, and the compiler computes such a concatenation from all of its parts
for each element: 1.8 and 1.5 ms a layer at 125M, where memory alone would allow 1.1 and 0.2. Two
Triton kernels write each gradient where it belongs.

Only for CUDA; `model.py` has the same arithmetic in plain PyTorch.

Shape suffixes as in `model.py`, and N tokens of all sequences, G the width of gate and up together.
"""

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor
from torch.nn import functional

from downstream.positions import rotate

COLUMNS = 1_024  # of a program of the feed-forward kernel: 16 bytes a load for each thread
TOKENS = 32  # of a program of the attention kernel


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _swiglu_kernel(gates, h_grad, gates_grad, h, width, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = column < width
    wide, narrow = row * 2 * width + column, row * width + column
    gate = tl.load(gates + wide, within).to(tl.float32)
    up = tl.load(gates + wide + width, within).to(tl.float32)
    grad = tl.load(h_grad + narrow, within).to(tl.float32)
    share = tl.sigmoid(gate)
    silu = gate * share
    tl.store(h + narrow, silu * up, within)
    tl.store(gates_grad + wide, grad * up * share * (1 + gate * (1 - share)), within)
    tl.store(gates_grad + wide + width, grad * silu, within)


@torch.library.custom_op("primer::swiglu_backward", mutates_args=())
def swiglu_backward(gates_NG: Tensor, h_grad_NF: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of gate and up, and what they made, once more: keeping it would cost memory."""
    gates_grad_NG, h_NF = torch.empty_like(gates_NG), torch.empty_like(h_grad_NF)
    rows, width = h_grad_NF.shape
    grid = (rows, triton.cdiv(width, COLUMNS))
    _swiglu_kernel[grid](gates_NG, h_grad_NF, gates_grad_NG, h_NF, width, COLUMNS)
    return gates_grad_NG, h_NF


@swiglu_backward.register_fake
def _(gates_NG: Tensor, h_grad_NF: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(gates_NG), torch.empty_like(h_grad_NF)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, up_GD: Tensor, down_DF: Tensor) -> Tensor:
        gates_NG = functional.linear(x_ND, up_GD)
        gate_NF, up_NF = gates_NG.chunk(2, dim=-1)
        ctx.save_for_backward(x_ND, up_GD, down_DF, gates_NG)
        return functional.linear(functional.silu(gate_NF) * up_NF, down_DF)

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, ...]:
        x_ND, up_GD, down_DF, gates_NG = ctx.saved_tensors
        gates_grad_NG, h_NF = swiglu_backward(gates_NG, (grad_ND @ down_DF).contiguous())
        return gates_grad_NG @ up_GD, gates_grad_NG.T @ x_ND, grad_ND.T @ h_NF


def feed_forward(x_BTD: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor) -> Tensor:
    """SwiGLU with gate and up in one product."""
    kind = x_BTD.dtype
    joined_GD = torch.cat([gate_FD.to(kind), up_FD.to(kind)])
    y_ND: Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
        x_BTD.flatten(0, 1), joined_GD, down_DF.to(kind)
    )
    return y_ND.view(x_BTD.shape)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _unrotate_kernel(  # type: ignore[no-untyped-def]
    q, k, v, cos, sin, out, tokens, heads, kv_heads,
    q_b, q_h, q_t, k_b, k_h, k_t, v_b, v_h, v_t,
    HALF: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    head, sequence = tl.program_id(1), tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = tl.arange(0, HALF)[None, :]
    within = (token < tokens)[:, None]
    if head < heads:
        source = q + sequence * q_b + head * q_h + token[:, None] * q_t + column
    elif head < heads + kv_heads:
        source = k + sequence * k_b + (head - heads) * k_h + token[:, None] * k_t + column
    else:
        own = head - heads - kv_heads
        source = v + sequence * v_b + own * v_h + token[:, None] * v_t + column
    first = tl.load(source, within).to(tl.float32)
    second = tl.load(source + HALF, within).to(tl.float32)
    angle = token[:, None] * 2 * HALF + column
    turned = head < heads + kv_heads
    c = tl.where(turned, tl.load(cos + angle, within), 1.0)
    s = tl.where(turned, tl.load(sin + angle, within), 0.0)
    width = (heads + 2 * kv_heads) * 2 * HALF
    target = out + (sequence * tokens + token[:, None]) * width + head * 2 * HALF + column
    tl.store(target, first * c + second * s, within)
    tl.store(target + HALF, second * c - first * s, within)


@torch.library.custom_op("primer::unrotate", mutates_args=())
def unrotate(
    q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor, cos_TC: Tensor, sin_TC: Tensor
) -> Tensor:
    """Gradients of queries, keys and values turned back and laid side by side, (B x T) x all."""
    b, heads, tokens, width = q_BHTC.shape
    kv_heads = k_BKTC.shape[1]
    parts = [x if x.stride(-1) == 1 else x.contiguous() for x in (q_BHTC, k_BKTC, v_BKTC)]
    out = q_BHTC.new_empty(b * tokens, (heads + 2 * kv_heads) * width)
    grid = (triton.cdiv(tokens, TOKENS), heads + 2 * kv_heads, b)
    strides = [stride for x in parts for stride in x.stride()[:3]]
    _unrotate_kernel[grid](
        *parts, cos_TC, sin_TC, out, tokens, heads, kv_heads, *strides, width // 2, TOKENS
    )
    return out


@unrotate.register_fake
def _(q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    b, heads, tokens, width = q_BHTC.shape
    return q_BHTC.new_empty(b * tokens, (heads + 2 * k_BKTC.shape[1]) * width)


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, joined_BTA: Tensor, cos_TC: Tensor, sin_TC: Tensor, widths: list[int]
    ) -> tuple[Tensor, ...]:
        b, t, _ = joined_BTA.shape
        q, k, v = (
            x.view(b, t, -1, cos_TC.shape[1]).transpose(1, 2)
            for x in torch.split(joined_BTA, widths, dim=-1)
        )
        ctx.save_for_backward(cos_TC, sin_TC)
        return rotate(q, cos_TC, sin_TC), rotate(k, cos_TC, sin_TC), v.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, _, _ = grads
        joined = unrotate(*grads, *ctx.saved_tensors)
        return joined.view(q.shape[0], q.shape[2], -1), None, None, None


def attention_inputs(
    x_BTD: Tensor, weights: list[Tensor], cos_TC: Tensor, sin_TC: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Turned queries and keys, and values, from one product; heads before tokens."""
    joined_AD = torch.cat([weight.to(x_BTD.dtype) for weight in weights])
    q, k, v = _Rotated.apply(  # type: ignore[no-untyped-call]
        functional.linear(x_BTD, joined_AD), cos_TC, sin_TC, [len(w) for w in weights]
    )
    return q, k, v
