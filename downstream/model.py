"""A small Llama-style model in plain PyTorch: the architecture that devices run.

Grouped-query attention (arXiv 2305.13245), SwiGLU (2002.05202), RMSNorm (1910.07467), rotary
positions (2104.09864), tied embeddings. Parameters carry the names and the layout of transformers'
`LlamaForCausalLM`, so that saving is copying.

Shape suffixes: B sequences, T tokens, D model width, H query heads, K key-value heads, C head
width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    context_tokens: int
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads


class Attention(nn.Module):
    """Causal attention; several query heads share one head of keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x_BTD: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        b, t, _ = x_BTD.shape
        width = self.shape.head
        q_BHTC = self.q_proj(x_BTD).view(b, t, -1, width).transpose(1, 2)
        k_BKTC = self.k_proj(x_BTD).view(b, t, -1, width).transpose(1, 2)
        v_BKTC = self.v_proj(x_BTD).view(b, t, -1, width).transpose(1, 2)
        y_BHTC = functional.scaled_dot_product_attention(
            _rotate(q_BHTC, cos_TC, sin_TC),
            _rotate(k_BKTC, cos_TC, sin_TC),
            v_BKTC,
            is_causal=True,
            enable_gqa=True,
        )
        y_BTD: Tensor = self.o_proj(y_BHTC.transpose(1, 2).reshape(b, t, -1))
        return y_BTD


class FeedForward(nn.Module):
    """SwiGLU: a gate, a way up, a way down."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTF = functional.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)
        y_BTD: Tensor = self.down_proj(h_BTF)
        return y_BTD


class Block(nn.Module):
    """Attention and feed-forward, each on the normed stream and added to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_epsilon)
        self.mlp = FeedForward(shape)

    def forward(self, x_BTD: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos_TC, sin_TC)
        y_BTD: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return y_BTD


class Llama(nn.Module):
    """Token ids in, logits of the next token out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.norm_epsilon)

    def initialize(self, seed: int) -> Llama:
        """Draw the weights from a seed; ways back into the stream start smaller (GPT-2)."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_stream = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * self.shape.layers) ** 0.5 if into_stream else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)
        return self

    def forward(self, ids_BT: Tensor) -> Tensor:
        cos_TC, sin_TC = rotary(ids_BT.shape[1], self.shape)
        x_BTD = self.embed_tokens(ids_BT)
        for block in self.layers:
            x_BTD = block(x_BTD, cos_TC, sin_TC)
        logits_BTV: Tensor = functional.linear(self.norm(x_BTD), self.embed_tokens.weight)
        return logits_BTV

    def loss_nats(self, ids_BT: Tensor) -> Tensor:
        """Mean cross-entropy, in nats, of every token but the first of each sequence."""
        logits_BTV = self(ids_BT[:, :-1])
        return functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten())

    @property
    def parameters_count(self) -> int:
        """Weights, the tied embedding once."""
        return sum(parameter.numel() for parameter in self.parameters())


def rotary(tokens: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the positions, each T x C, halves laid side by side."""
    rates_C = shape.rope_theta ** (-torch.arange(0, shape.head, 2).float() / shape.head)
    angles_TC = torch.outer(torch.arange(tokens).float(), rates_C).repeat(1, 2)
    return angles_TC.cos(), angles_TC.sin()


def _rotate(x_BHTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    first, second = x_BHTC.chunk(2, dim=-1)
    return x_BHTC * cos_TC + torch.cat((-second, first), dim=-1) * sin_TC
