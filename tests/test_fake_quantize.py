"""What training sees is what a quantized file holds, and the weights behind it learn."""

import copy
import inspect
import json.decoder

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from gguf.quants import quantize as gguf_quantize
from torch import nn

from downstream.fake_quantize import RoundedLinear, bake, fake_quantize, rounded
from downstream.model import Llama
from downstream.shape import Shape
from pipeline.errors import InputError

torch.set_num_threads(1)
SHAPE = Shape(64, 64, 2, 2, 1, 96, 32)
IDS = torch.randint(64, (4, 17), generator=torch.Generator().manual_seed(1))


def by_gguf(weight, type_name):
    kind = GGMLQuantizationType[type_name]
    return dequantize(gguf_quantize(weight, kind), kind)


def odd_weights():
    """Ties of opposite signs, zeros, halves, tiny and large blocks among ordinary ones."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(40, 96)).astype(np.float32)
    weight[0] = 0
    weight[1, ::2], weight[1, 1::2] = 1.5, -1.5
    weight[2, ::2], weight[2, 1::2] = -1.5, 1.5
    weight[3] = np.arange(96) / 2 - 24
    weight[4] *= 1e-9
    weight[5] *= 1e4
    weight[6] = np.linspace(-127, 127, 96).round() / 2
    return weight


@pytest.mark.parametrize("type_name", ["Q4_0", "Q8_0"])
def test_the_rounding_is_that_of_the_file_bit_for_bit(type_name):
    weight = odd_weights()
    ours = rounded(torch.from_numpy(weight), type_name).numpy()
    assert np.array_equal(ours, by_gguf(weight, type_name))
    assert not np.array_equal(ours, weight)


def test_what_is_baked_is_stored_in_q4_0_without_any_change():
    baked = rounded(torch.from_numpy(odd_weights()), "Q4_0")
    stored = by_gguf(baked.half().float().numpy(), "Q4_0")  # by way of the F16 file
    assert np.array_equal(stored, baked.numpy())


@pytest.mark.parametrize("type_name", ["Q4_0", "Q8_0"])
def test_a_model_computes_with_rounded_weights_until_they_are_baked(type_name):
    model = Llama(SHAPE).initialize(0)
    plain, names = copy.deepcopy(model), list(model.state_dict())
    assert fake_quantize(model, type_name) == 2 * 7
    assert list(model.state_dict()) == names
    with torch.no_grad():
        for layer in plain.modules():
            if type(layer) is nn.Linear:
                layer.weight.copy_(rounded(layer.weight, type_name))
        wanted = plain(IDS)
        assert torch.equal(model(IDS), wanted)
        bake(model)
        assert torch.equal(model(IDS), wanted)
    assert not any(isinstance(layer, RoundedLinear) for layer in model.modules())
    for ours, right in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, right)


def test_the_gradient_passes_to_the_weights_as_if_nothing_were_rounded():
    torch.manual_seed(0)
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(32, 3)])})
    layer = model["layers"][0]
    plain = copy.deepcopy(layer)
    fake_quantize(model, "Q4_0")
    with torch.no_grad():
        plain.weight.copy_(rounded(plain.weight, "Q4_0"))
    x = torch.randn(5, 32)
    for one in (layer, plain):
        one(x).square().sum().backward()
    assert torch.equal(layer.weight.grad, plain.weight.grad)
    assert torch.equal(layer.bias.grad, plain.bias.grad)
    assert not torch.equal(layer.weight, plain.weight)


@pytest.mark.long
def test_a_compiled_block_sees_the_change_too():
    model = Llama(SHAPE).initialize(0).compile_blocks(backend="eager")
    with torch.no_grad():
        before = model(IDS)
        fake_quantize(model, "Q4_0")
        seen = model(IDS)
        bake(model)
        after = model(IDS)
    assert (seen - before).abs().max() > 1e-3
    assert torch.allclose(seen, after, atol=1e-6)


def test_rows_that_are_no_blocks_and_unknown_types_are_refused():
    model = Llama(Shape(64, 64, 1, 2, 1, 80, 32))
    with pytest.raises(InputError, match="down_proj has rows of 80"):
        fake_quantize(model, "Q4_0")
    assert not any(isinstance(layer, RoundedLinear) for layer in model.modules())
    with pytest.raises(InputError, match="'Q4_K'"):
        fake_quantize(model, "Q4_K")


def test_training_on_rounded_weights_loses_less_by_rounding():
    text = torch.tensor(list(inspect.getsource(json.decoder).encode()))
    ids = text[: 16 * 49].reshape(16, 49)
    plain = Llama(Shape(128, 32, 1, 2, 1, 64, 48)).initialize(0)
    _train(plain, ids, steps=150, first_rate=2e-2, last_rate=2e-3)
    aware = copy.deepcopy(plain)
    fake_quantize(aware, "Q4_0")
    for model in (plain, aware):  # the same number of steps
        _train(model, ids, steps=60, first_rate=3e-3, last_rate=0)
    full = plain.loss_nats(ids).item()
    fake_quantize(plain, "Q4_0")
    for model in (plain, aware):
        bake(model)
    after, trained_for_it = plain.loss_nats(ids).item(), aware.loss_nats(ids).item()
    assert full < trained_for_it < after - 0.5 * (after - full)  # measured: 0.06, 0.07, 0.14 nats


def _train(model, ids, steps, first_rate, last_rate):
    optimizer = torch.optim.AdamW(model.parameters())
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = first_rate + (last_rate - first_rate) * i / steps
        optimizer.zero_grad()
        model.loss_nats(ids).backward()
        optimizer.step()
