"""A Llama-style model in plain PyTorch: the architecture that devices run.

Grouped-query attention (arXiv 2305.13245), SwiGLU (2002.05202), RMSNorm (1910.07467), rotary
positions (2104.09864). Parameters carry the names and the layout of transformers'
`LlamaForCausalLM`, so that saving is copying.

Everything goes through `forward`, the loss too, so that what data-parallel wrappers hang on it
always runs; `head` says what becomes of the last stream. On a GPU call `compile_blocks` once and
train under `torch.autocast("cuda", torch.bfloat16)`: one block is compiled and serves them all, in
seconds where the whole model takes half a minute.

Shape suffixes: B sequences, T tokens, D model width, H query heads, K key-value heads, C head
width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from downstream.attention import Mask, attend, document_mask
from downstream.cross_entropy import cross_entropy
from downstream.positions import rotary, rotate
from downstream.shape import Shape, count_parameters

__all__ = ["Block", "Llama", "Shape", "loss_nats", "rotary"]

Head = Callable[[Tensor, Tensor], Tensor]  # last stream (B x T x D) and output weights (V x D)


class Norm(nn.RMSNorm):
    """Root mean square normalization, in 32 bits whatever the stream has."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.float()
        return functional.rms_norm(x.float(), self.normalized_shape, weight, self.eps).type_as(x)


class Attention(nn.Module):
    """Causal attention; several query heads share one head of keys and values."""

    joined: Any = None  # kernels.attention_inputs, where blocks are compiled for a GPU

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head = shape.head
        queries, kv = shape.heads * shape.head, shape.kv_heads * shape.head
        self.q_proj = nn.Linear(shape.hidden, queries, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.o_proj = nn.Linear(queries, shape.hidden, bias=False)

    def forward(self, x_BTD: Tensor, cos_TC: Tensor, sin_TC: Tensor, mask: Mask) -> Tensor:
        b, t, _ = x_BTD.shape
        linears = (self.q_proj, self.k_proj, self.v_proj)
        if self.joined and _plain(*linears):
            weights = [linear.weight for linear in linears]
            q_BHTC, k_BKTC, v_BKTC = self.joined(x_BTD, weights, cos_TC, sin_TC)
        else:
            q_BHTC, k_BKTC, v_BKTC = (
                linear(x_BTD).view(b, t, -1, self.head).transpose(1, 2) for linear in linears
            )
            q_BHTC, k_BKTC = (rotate(x, cos_TC, sin_TC) for x in (q_BHTC, k_BKTC))
        y_BHTC = attend(q_BHTC, k_BKTC, v_BKTC, mask)
        y_BTD: Tensor = self.o_proj(y_BHTC.transpose(1, 2).reshape(b, t, -1))
        return y_BTD


class FeedForward(nn.Module):
    """SwiGLU: a gate, a way up, a way down."""

    joined: Any = None  # kernels.feed_forward, where blocks are compiled for a GPU

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        linears = (self.gate_proj, self.up_proj, self.down_proj)
        if self.joined and _plain(*linears):
            joined_BTD: Tensor = self.joined(x_BTD, *(linear.weight for linear in linears))
            return joined_BTD
        h_BTF = functional.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)
        y_BTD: Tensor = self.down_proj(h_BTF)
        return y_BTD


def _plain(*linears: nn.Module) -> bool:
    """Whether only weights count: an adapter or a quantizer on top has to be called."""
    return all(type(linear) is nn.Linear for linear in linears)


class Block(nn.Module):
    """Attention and feed-forward, each on the normed stream and added to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.hidden, eps=shape.norm_epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden, eps=shape.norm_epsilon)
        self.mlp = FeedForward(shape)

    def forward(self, x_BTD: Tensor, cos_TC: Tensor, sin_TC: Tensor, mask: Mask = None) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos_TC, sin_TC, mask)
        y_BTD: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return y_BTD


class Llama(nn.Module):
    """Token ids in, logits of the next token out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, eps=shape.norm_epsilon)
        if not shape.tied:
            self.lm_head = nn.Linear(shape.hidden, shape.vocabulary, bias=False)

    def initialize(self, seed: int) -> Llama:
        """Draw the weights from a seed; ways back into the stream start smaller (GPT-2)."""
        generator = torch.Generator(self.embed_tokens.weight.device).manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_stream = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * self.shape.layers) ** 0.5 if into_stream else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)
        return self

    def compile_blocks(self, **options: Any) -> Llama:
        """Compile the block once for all layers; on a GPU, with its parallel projections joined.

        Only `forward` is compiled, so that hooks of FSDP stay outside the graph.
        """
        if self.embed_tokens.weight.is_cuda:
            from downstream import kernels

            for module in self.modules():
                if isinstance(module, Attention):
                    module.joined = kernels.attention_inputs
                elif isinstance(module, FeedForward):
                    module.joined = kernels.feed_forward
        for block in self.layers:
            block.forward = torch.compile(block.forward, dynamic=False, fullgraph=True, **options)
        return self

    @property
    def output_weight(self) -> Tensor:
        """What turns the last stream into logits, V x D."""
        weight: Tensor = self.embed_tokens.weight if self.shape.tied else self.lm_head.weight
        return weight

    def forward(
        self, ids_BT: Tensor, end_of_text: int | None = None, head: Head = functional.linear
    ) -> Tensor:
        """Logits, or what `head` makes; with `end_of_text` no token sees another document."""
        mask = None if end_of_text is None else document_mask(ids_BT, end_of_text)
        cos_TC, sin_TC = rotary(ids_BT.shape[1], self.shape, ids_BT.device)
        x_BTD = self.embed_tokens(ids_BT)
        if torch.is_autocast_enabled(x_BTD.device.type):
            x_BTD = x_BTD.to(torch.get_autocast_dtype(x_BTD.device.type))
        for block in self.layers:
            x_BTD = block(x_BTD, cos_TC, sin_TC, mask)
        return head(self.norm(x_BTD), self.output_weight)

    def loss_nats(
        self, ids_BT: Tensor, end_of_text: int | None = None, weights_BT: Tensor | None = None
    ) -> Tensor:
        """Mean cross-entropy, in nats, of every token but the first of each sequence.

        `weights_BT`, one column shorter than the ids, counts each of these tokens.
        """
        return loss_nats(self, ids_BT, end_of_text, weights_BT)

    @property
    def parameters_count(self) -> int:
        """Weights, a tied embedding once."""
        return count_parameters(self.shape)


def loss_nats(
    model: nn.Module,
    ids_BT: Tensor,
    end_of_text: int | None = None,
    weights_BT: Tensor | None = None,
) -> Tensor:
    """The loss of a model or of what wraps one."""
    head = partial(_loss_head, targets_BT=ids_BT[:, 1:], weights_BT=weights_BT)
    loss: Tensor = model(ids_BT[:, :-1], end_of_text, head=head)
    return loss


def _loss_head(
    x_BTD: Tensor, output_VD: Tensor, targets_BT: Tensor, weights_BT: Tensor | None
) -> Tensor:
    return cross_entropy(x_BTD, output_VD, targets_BT, weights_BT)
