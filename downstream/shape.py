"""The sizes of a model: by hand or by preset, with what they come to in weights and arithmetic.

Hidden and feed-forward sizes of the presets are divisible by 256 (but for "1M"), so that every row
of every matrix fits llama.cpp's K-quants. Heads are 128 wide where a GPU trains (64 costs about
15 %), and fewer heads of keys and values keep a device's cache small. How large a model is depends
on the vocabulary too; what does not:

    preset  layers  hidden  feed-forward  heads (KV)  head   weights of the blocks  cache a token
    1M           4     128           384       4 (2)    32                   0.8 M      1,024 bytes
    2M           3     256           512       4 (2)    64                   1.8 M      1,536 bytes
    15M          5     512         1,024       4 (2)   128                  11.8 M      5,120 bytes
    30M          8     512         1,536       4 (2)   128                  25.2 M      8,192 bytes
    125M        12     768         3,072       6 (2)   128                 103.8 M     12,288 bytes
    350M        24   1,024         3,584       8 (2)   128                 327.2 M     24,576 bytes
    1B          20   2,048         6,144      16 (4)   128                 964.8 M     40,960 bytes

Add hidden x vocabulary, once where the embedding is tied: 25 M for 32,768 tokens at "125M". The
cache of keys and values is counted at 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-style model; `head` is hidden // heads where nothing else is said."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    context_tokens: int
    head: int = None  # type: ignore[assignment]  # settled below, an int ever after
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5
    tied: bool = True

    def __post_init__(self) -> None:
        if self.head is None:
            object.__setattr__(self, "head", self.hidden // self.heads)  # type: ignore[unreachable]
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} of keys and values")
        if self.head % 2:
            raise ValueError(f"a head of {self.head} has no halves for the positions to turn")


@dataclass(frozen=True)
class Preset:
    """The sizes that do not depend on the data."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int


PRESETS = {
    "1M": Preset(4, 128, 384, 4, 2),
    "2M": Preset(3, 256, 512, 4, 2),
    "15M": Preset(5, 512, 1_024, 4, 2),
    "30M": Preset(8, 512, 1_536, 4, 2),
    "125M": Preset(12, 768, 3_072, 6, 2),
    "350M": Preset(24, 1_024, 3_584, 8, 2),
    "1B": Preset(20, 2_048, 6_144, 16, 4),
}


def shape_of(preset: str, vocabulary: int, context_tokens: int) -> Shape:
    """The shape of a preset with the vocabulary and context of the data."""
    p = PRESETS[preset]
    return Shape(
        vocabulary, p.hidden, p.layers, p.heads, p.kv_heads, p.feed_forward, context_tokens
    )


def count_parameters(shape: Shape) -> int:
    """Weights of the whole model, a tied embedding once."""
    attention = 2 * shape.hidden * shape.head * (shape.heads + shape.kv_heads)
    block = attention + 3 * shape.hidden * shape.feed_forward + 2 * shape.hidden
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return shape.layers * block + shape.hidden + embeddings


def flops_per_token(shape: Shape, context_tokens: int) -> float:
    """Operations of a training step for each token: 6N and attention, forward and backward.

    N leaves out an untied input embedding, which is looked up, not multiplied. Attention is counted
    as if every token saw the whole context: 12 x layers x heads x head x context, the convention of
    PaLM (arXiv 2204.02311, appendix B). The causal mask halves what is truly needed.
    """
    looked_up = 0 if shape.tied else shape.vocabulary * shape.hidden
    return 6.0 * (count_parameters(shape) - looked_up) + attention_flops(shape, context_tokens)


def attention_flops(shape: Shape, seen_tokens: float) -> float:
    """Attention's part of `flops_per_token` where a token sees so many others."""
    return 12.0 * shape.layers * shape.heads * shape.head * seen_tokens
