"""Attention within documents: on a model, squares against all pairs, flex against PyTorch."""

import warnings

import pytest
import torch
from torch.nn import functional
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from downstream.attention import attend, block_mask, document_mask, documents_of
from downstream.model import Llama, Shape

END, VOCABULARY = 0, 50


def model():
    shape = Shape(VOCABULARY, 64, 2, 4, 2, 96, 128)
    made = Llama(shape).initialize(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4 if parameter.ndim == 2 else 1)
    return made.eval()


def packed(sequences, tokens, ends_share, seed=1):
    """Random ids, each an end with this probability."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (sequences, tokens), generator=generator)
    return ids.masked_fill(torch.rand(ids.shape, generator=generator) < ends_share, END)


def test_an_end_belongs_to_the_document_that_it_ends():
    ids = torch.tensor([[5, 6, END, 7, END, END, 8]])
    assert documents_of(ids, END).tolist() == [[0, 0, 0, 1, 1, 2, 3]]


@torch.no_grad()
def test_what_stands_before_an_end_changes_nothing_after_it():
    ids = packed(2, 60, 0)
    ids[:, 29] = END
    other = ids.clone()
    other[:, :29] = packed(2, 29, 0, seed=2)
    made = model()
    within = [made(x, END)[:, 30:] for x in (ids, other)]
    torch.testing.assert_close(*within, atol=1e-5, rtol=1e-5)
    across = [made(x)[:, 30:] for x in (ids, other)]
    assert (across[0] - across[1]).abs().max() > 1e-2


@torch.no_grad()
def test_a_packed_document_reads_as_it_does_alone():
    ids = packed(1, 64, 0)
    ids[0, [19, 40]] = END
    made = model()
    logits = made(ids, END)
    for start, stop in ((0, 20), (20, 41), (41, 64)):
        torch.testing.assert_close(
            logits[:, start:stop], made(ids[:, start:stop]), atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_without_an_end_in_sight_both_ways_agree():
    ids, made = packed(2, 60, 0), model()
    torch.testing.assert_close(made(ids, END), made(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [128, 300, 640])
@pytest.mark.parametrize("ends_share", [0, 0.003, 0.02, 0.3])
def test_squares_by_their_corners_are_those_by_all_pairs(tokens, ends_share):
    documents = documents_of(packed(3, tokens, ends_share), END)
    ours = block_mask(documents)

    def allowed(b, h, query, key):
        return (query >= key) & (documents[b, query] == documents[b, key])

    theirs = create_block_mask(allowed, 3, None, tokens, tokens, device="cpu")
    assert torch.equal(ours.to_dense(), theirs.to_dense())
    assert torch.equal(ours.full_kv_num_blocks, theirs.full_kv_num_blocks)
    for mask in (ours, theirs):
        assert mask.seq_lengths == (tokens, tokens)


def test_flex_attention_under_the_squares_is_attention_under_the_boolean_mask():
    tokens = 300
    ids = packed(2, tokens, 0.01)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, tokens, 16, generator=generator) for heads in (4, 2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is slow where nothing compiles it
        flex = flex_attention(
            q, k, v, block_mask=block_mask(documents_of(ids, END)), enable_gqa=True
        )
    torch.testing.assert_close(flex, attend(q, k, v, document_mask(ids, END)), atol=1e-5, rtol=1e-5)
    causal = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    assert (flex - causal).abs().max() > 0.1


@pytest.mark.gpu
def test_compiled_blocks_on_a_gpu_have_the_loss_and_gradients_of_the_cpu():
    shape = Shape(1_000, 512, 2, 4, 2, 1_024, 512)
    ids = packed(4, 513, 0.004)
    made = Llama(shape).initialize(3)
    expected = made.loss_nats(ids, END)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in made.named_parameters()}
    made.zero_grad()
    made.cuda().compile_blocks()
    with torch.autocast("cuda", torch.bfloat16):
        loss = made.loss_nats(ids.cuda(), END)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    for name, parameter in made.named_parameters():
        off = (parameter.grad.cpu() - gradients[name]).norm() / gradients[name].norm()
        assert off < 0.05, name
