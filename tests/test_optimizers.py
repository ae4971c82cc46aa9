"""What moves what, how Muon makes matrices orthogonal, and that optimizers resume exactly."""

import io

import pytest
import torch

from downstream.model import Llama, Shape
from downstream.muon import Muon, newton_schulz
from downstream.optimizers import OptimizerConfig, make_optimizers, set_rate

SHAPE = Shape(60, 32, 2, 4, 2, 48, 64)


def tokens(seed):
    return torch.randint(60, (2, 33), generator=torch.Generator().manual_seed(seed))


def train(model, optimizers, steps):
    losses = []
    for step in steps:
        loss = model.loss_nats(tokens(step), 0)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("size", [(24, 64), (64, 24), (40, 40)])
def test_singular_values_come_near_one(size):
    batch = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    batch[0] *= 1_000
    made = newton_schulz(batch)
    values = torch.linalg.svdvals(made)
    assert 0.3 < values.min() < values.max() < 1.3  # a square one starts with values near zero
    assert torch.linalg.svdvals(batch).max() > 10
    for one, whole in zip(batch, made, strict=True):
        torch.testing.assert_close(newton_schulz(one[None])[0], whole, atol=2e-2, rtol=2e-2)


def test_a_step_is_that_of_torch_muon():
    def matrices():
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randn(size, generator=generator).requires_grad_()
            for size in ((8, 16), (16, 8), (8, 16), (12, 12))
        ]

    ours, theirs = matrices(), matrices()
    moved = Muon(ours, lr=0.1, weight_decay=0.2)
    peer = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.2)
    first = [p.detach().clone() for p in ours]
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        moved.step()
        peer.step()
    for mine, other, before in zip(ours, theirs, first, strict=True):
        assert (mine - before).norm() > 0.5
        assert (mine - other).norm() / (mine - before).norm() < 0.02


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        Muon([torch.zeros(3, requires_grad=True)])


@pytest.mark.parametrize("matrices", ["muon", "adamw"])
def test_every_weight_is_moved_once_and_matrices_of_blocks_alone_decay(matrices):
    model = Llama(SHAPE)
    optimizers = make_optimizers(model, OptimizerConfig(matrices=matrices, weight_decay=0.1))
    assert [type(o).__name__ for o in optimizers] == (
        ["Muon", "AdamW"] if matrices == "muon" else ["AdamW"]
    )
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    moved = [p for group in groups for p in group["params"]]
    assert len(moved) == len({id(p) for p in moved}) == len(list(model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            within = "proj" in names[id(parameter)]
            assert group["weight_decay"] == (0.1 if within else 0.0)
            rate = 0.02 if within and matrices == "muon" else 0.004
            assert group["lr"] == group["peak_lr"] == rate
    set_rate(optimizers, 0.25)
    assert all(group["lr"] == group["peak_lr"] / 4 for group in groups)


def test_frozen_weights_are_left_alone():
    model = Llama(SHAPE)
    model.embed_tokens.requires_grad_(False)
    groups = [g for o in make_optimizers(model, OptimizerConfig()) for g in o.param_groups]
    assert all(p is not model.embed_tokens.weight for g in groups for p in g["params"])


@pytest.mark.parametrize("matrices", ["muon", "adamw"])
def test_a_run_resumed_from_its_state_is_the_undisturbed_one(matrices):
    config = OptimizerConfig(matrices=matrices, weight_decay=0.1)
    model = Llama(SHAPE).initialize(1)
    optimizers = make_optimizers(model, config)
    set_rate(optimizers, 0.5)
    train(model, optimizers, range(3))
    saved = io.BytesIO()
    torch.save([model.state_dict(), [o.state_dict() for o in optimizers]], saved)
    expected = train(model, optimizers, range(3, 6))
    saved.seek(0)
    weights, states = torch.load(saved, weights_only=True)
    resumed = Llama(SHAPE)
    resumed.load_state_dict(weights)
    others = make_optimizers(resumed, config)
    for optimizer, state in zip(others, states, strict=True):
        optimizer.load_state_dict(state)
    assert train(resumed, others, range(3, 6)) == expected
    for mine, theirs in zip(resumed.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_loss_of_a_text_seen_again_and_again_falls():
    model = Llama(SHAPE).initialize(1)
    losses = train(model, make_optimizers(model, OptimizerConfig()), [0] * 30)
    assert losses[-1] < losses[0] / 2
