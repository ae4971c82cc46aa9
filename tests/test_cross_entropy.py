"""Chunked cross-entropy against PyTorch's own: value, gradients, weights, memory."""

import pytest
import torch
from torch.nn import functional

from downstream.cross_entropy import cross_entropy, fitting_chunk


def drawn(vocabulary=40):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 50, 16, generator=generator).requires_grad_()
    output = torch.randn(vocabulary, 16, generator=generator).requires_grad_()
    targets = torch.randint(vocabulary, (3, 50), generator=generator)
    return x, output, targets, torch.rand(3, 50, generator=generator)


@pytest.mark.parametrize("chunk", [None, 7, 64, 1_000])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradients_are_those_of_plain_cross_entropy(chunk, weighted):
    x, output, targets, weights = drawn()
    ours = cross_entropy(x, output, targets, weights if weighted else None, chunk)
    ours_grads = torch.autograd.grad(3 * ours, (x, output))
    nats = functional.cross_entropy(
        (x @ output.T).flatten(0, 1), targets.flatten(), reduction="none"
    )
    plain = (nats * weights.flatten()).sum() / weights.sum() if weighted else nats.mean()
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(ours_grads, torch.autograd.grad(3 * plain, (x, output)), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    with torch.no_grad():
        evaluated = cross_entropy(x, output, targets, weights if weighted else None, chunk)
    torch.testing.assert_close(evaluated, plain, atol=1e-5, rtol=1e-5)


def test_a_weight_of_zero_leaves_a_token_out():
    x, output, targets, weights = drawn()
    weights[:, 10:] = 0
    short = cross_entropy(x[:, :10], output, targets[:, :10], weights[:, :10])
    torch.testing.assert_close(cross_entropy(x, output, targets, weights), short)
    nothing = cross_entropy(x, output, targets, torch.zeros_like(weights))
    assert nothing.item() == 0.0


def test_chunks_are_equal_parts_within_the_limit():
    output = torch.empty(8_192, 2, device="meta")
    assert fitting_chunk(100, output) == 100
    chunk = fitting_chunk(2_000, output)
    assert chunk == 500
    assert chunk * len(output) <= 2**22
