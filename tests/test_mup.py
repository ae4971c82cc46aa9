"""The coordinate check: what some steps do to activations grows with width, or does not."""

import pytest
import torch

from downstream import mup
from downstream.model import Llama, Shape
from downstream.optimizers import OptimizerConfig, make_optimizers

BASE, WIDTHS = 32, (32, 64, 128)
STEPS = 4


def shape(hidden):
    return Shape(64, hidden, 2, hidden // 16, hidden // 16, 2 * hidden, 32)


@torch.no_grad()
def coordinates(model, ids):
    """Root mean square of the stream after each block, and of the logits."""
    sizes = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: sizes.append(out)) for block in model.layers
    ]
    logits = model(ids)
    for hook in hooks:
        hook.remove()
    return [*sizes, logits]


def moved(hidden, config):
    """How far some steps move each activation."""
    ids = torch.randint(64, (4, 33), generator=torch.Generator().manual_seed(0))
    base = config.mup_base_hidden
    model = Llama(shape(hidden))
    model = mup.initialize(model, 1, base) if base else model.initialize(1)
    before = coordinates(model, ids)
    optimizers = make_optimizers(model, config)
    for _ in range(STEPS):
        model.loss_nats(ids).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    pairs = zip(before, coordinates(model, ids), strict=True)
    return torch.stack([(b - a).pow(2).mean().sqrt() for a, b in pairs])


def growth(config):
    """The power of the width with which movements grow, one for each activation."""
    sizes = torch.stack([moved(hidden, config) for hidden in WIDTHS]).log()
    widths = torch.tensor(WIDTHS).float().log()
    centred = widths - widths.mean()
    return ((sizes * centred[:, None]).sum(dim=0) / centred.pow(2).sum()).tolist()


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
def test_activations_do_not_grow_with_width(matrices):
    config = OptimizerConfig(matrices=matrices, mup_base_hidden=BASE)
    assert max(growth(config)) < 0.15


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
def test_in_the_standard_parametrization_they_grow(matrices):
    assert max(growth(OptimizerConfig(matrices=matrices))) > 0.5


def test_at_the_width_of_the_base_nothing_changes():
    plain, scaled = Llama(shape(64)).initialize(1), mup.initialize(Llama(shape(64)), 1, 64)
    for mine, theirs in zip(scaled.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    rates = [
        [(g["lr"], g["weight_decay"]) for o in make_optimizers(plain, c) for g in o.param_groups]
        for c in (OptimizerConfig(), OptimizerConfig(mup_base_hidden=64))
    ]
    assert rates[0] == rates[1]


def test_rates_and_first_weights_go_with_the_width():
    model = mup.initialize(Llama(shape(128)), 1, BASE)
    plain = Llama(shape(128)).initialize(1)
    assert torch.equal(model.norm.weight, torch.full((128,), 0.25))
    assert torch.equal(model.embed_tokens.weight, plain.embed_tokens.weight)
    projection = model.layers[0].mlp.up_proj.weight
    torch.testing.assert_close(projection, plain.layers[0].mlp.up_proj.weight / 2)
    config = OptimizerConfig(matrices="adamw", mup_base_hidden=BASE, weight_decay=0.1)
    rates = {
        id(p): (g["lr"], g["weight_decay"])
        for g in make_optimizers(model, config)[0].param_groups
        for p in g["params"]
    }
    assert rates[id(projection)] == pytest.approx((0.001, 0.4))
    assert rates[id(model.norm.weight)] == (0.001, 0.0)
    assert rates[id(model.layers[0].input_layernorm.weight)] == (0.004, 0.0)
    assert rates[id(model.embed_tokens.weight)] == (0.004, 0.0)
