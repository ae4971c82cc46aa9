"""Causal attention that may be kept within documents, on whatever the machine has.

Sequences are packed: several documents stand in a row, each closed by its end of text. Attention
across them teaches a model to look at what has nothing to do with the text, so a token may be shown
only its own document. Positions need no restart: rotary positions know differences alone.

On a GPU a block mask for flex attention (https://pytorch.org/blog/flexattention/) names the squares
of 128 x 128 tokens to compute, and what it leaves out costs nothing. It is made once a batch and
from the documents at the ends of each square, B x T/128 numbers, instead of evaluating T x T pairs.
On the CPU a boolean mask says the same to PyTorch's own attention.

Shape suffixes: B sequences, T tokens, H query heads, K key-value heads, C head width, S squares.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, flex_attention

SQUARE = 128  # tokens on a side, flex attention's own default

Mask = Tensor | BlockMask | None


def documents_of(ids_BT: Tensor, end_of_text: int) -> Tensor:
    """The number of each token's document within its sequence; an end belongs to what it ends."""
    ends_BT = (ids_BT == end_of_text).int()
    return ends_BT.cumsum(dim=1, dtype=torch.int32) - ends_BT


def document_mask(ids_BT: Tensor, end_of_text: int) -> Tensor | BlockMask:
    """Who may look at whom: what stands before, in one's own document."""
    documents_BT = documents_of(ids_BT, end_of_text)
    if ids_BT.is_cuda:
        return block_mask(documents_BT)
    tokens = ids_BT.shape[1]
    causal_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=ids_BT.device).tril()
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    return (same_BTT & causal_TT)[:, None]


def block_mask(documents_BT: Tensor) -> BlockMask:
    """The mask by squares: those to leave out, to compute whole, and to look at token by token."""
    tokens = documents_BT.shape[1]
    some_BSS, whole_BSS = _squares(documents_BT)

    def allowed(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (documents_BT[b, query] == documents_BT[b, key])

    return BlockMask.from_kv_blocks(
        *_listed(some_BSS), *_listed(whole_BSS), BLOCK_SIZE=SQUARE, mask_mod=allowed,
        seq_lengths=(tokens, tokens),
    )  # fmt: skip


def _squares(documents_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Squares (query x key) of which some pairs are allowed, and those of which all are."""
    tokens = documents_BT.shape[1]
    first_BS = documents_BT[:, ::SQUARE]
    ends = torch.arange(SQUARE - 1, tokens + SQUARE - 1, SQUARE, device=documents_BT.device)
    last_BS = documents_BT[:, ends.clamp(max=tokens - 1)]
    number_S = torch.arange(first_BS.shape[1], device=documents_BT.device)
    earlier_SS = number_S[:, None] > number_S
    diagonal_SS = number_S[:, None] == number_S
    meet_BSS = last_BS[:, None, :] >= first_BS[:, :, None]  # numbers of documents only grow
    one_BSS = (first_BS[:, None, :] == last_BS[:, :, None]) & earlier_SS
    one_BSS &= (number_S < tokens // SQUARE)[:, None]  # a last square cut short is not whole
    return (meet_BSS & earlier_SS & ~one_BSS) | diagonal_SS, one_BSS


def _listed(chosen_BSS: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of squares how many are chosen, and which, those first."""
    count_BS = chosen_BSS.sum(dim=-1, dtype=torch.int32)
    order_BSS = chosen_BSS.int().argsort(dim=-1, descending=True, stable=True).int()
    return count_BS[:, None].contiguous(), order_BSS[:, None].contiguous()


def attend(q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor, mask: Mask) -> Tensor:
    """Attention under a document mask, or under the causal mask alone; B x H x T x C."""
    shared = q_BHTC.shape[1] != k_BKTC.shape[1]
    if isinstance(mask, BlockMask):
        flex = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
        y_BHTC: Tensor = flex(q_BHTC, k_BKTC, v_BKTC, block_mask=mask, enable_gqa=shared)
        return y_BHTC
    return functional.scaled_dot_product_attention(
        q_BHTC, k_BKTC, v_BKTC, attn_mask=mask, is_causal=mask is None, enable_gqa=shared
    )


@functools.cache
def _compiled_flex() -> Any:
    """Uncompiled, flex attention computes every pair; made late, as the compiler loads slowly."""
    return torch.compile(flex_attention, dynamic=False)
