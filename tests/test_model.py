"""The model against transformers' own, from a saved directory, and what it promises by itself."""

import math

import pytest
import torch
from small_handoff import ODD_TEXT, VOCABULARY, random_model, write_model
from torch.nn import functional

from downstream.model import Llama, Shape

SHAPE = Shape(VOCABULARY, 64, 2, 4, 2, 96, 128)


def tokens(*size, seed=1):
    return torch.randint(VOCABULARY, size, generator=torch.Generator().manual_seed(seed))


def opened_by_transformers(folder):
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("rope_theta", [10_000.0, 100.0])
def test_the_logits_are_those_of_transformers(tmp_path, kv_heads, rope_theta):
    model = random_model(hidden=64, layers=2, kv_heads=kv_heads, rope_theta=rope_theta)
    write_model(tmp_path, model)
    reference = opened_by_transformers(tmp_path)
    ids = tokens(3, 100)
    with torch.no_grad():
        ours, theirs = model(ids), reference(ids).logits
    assert theirs.std() > 0.5  # flat logits would agree whatever was wrong
    assert (ours - theirs).abs().max() < 1e-4
    assert model.parameters_count == reference.num_parameters()


def test_the_saved_tokenizer_and_its_end_are_found_by_transformers(tmp_path):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    write_model(tmp_path, random_model(hidden=64))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.eos_token == loaded.bos_token == "<|endoftext|>"
    assert loaded.eos_token_id == opened_by_transformers(tmp_path).config.eos_token_id == 0
    ids = loaded(ODD_TEXT)["input_ids"]
    assert ids == Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(ODD_TEXT).ids
    assert loaded.decode(ids) == ODD_TEXT


@pytest.mark.parametrize("changed", [1, 17, 39])
def test_a_later_token_leaves_earlier_logits_alone(changed):
    model, ids = random_model(hidden=64, layers=2), tokens(2, 40)
    other = ids.clone()
    other[:, changed] = (other[:, changed] + 1) % VOCABULARY
    with torch.no_grad():
        before, after = model(ids), model(other)
    torch.testing.assert_close(before[:, :changed], after[:, :changed])
    for later in range(changed, 40):
        assert (before[:, later] - after[:, later]).abs().max() > 1e-3


def test_parameters_are_counted_with_the_tied_embedding_once():
    attention = 64 * 64 * 2 + 64 * 32 * 2
    block = attention + 3 * 64 * 96 + 2 * 64
    assert Llama(SHAPE).parameters_count == VOCABULARY * 64 + 2 * block + 64


def test_the_first_weights_depend_on_the_seed_alone():
    first = Llama(SHAPE).initialize(5).state_dict()
    torch.manual_seed(99)
    second = Llama(SHAPE).initialize(5).state_dict()
    other = Llama(SHAPE).initialize(6).state_dict()
    assert first.keys() == second.keys() == other.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name])
        assert torch.equal(weight, other[name]) == (weight.ndim == 1)


def test_ways_back_into_the_stream_start_smaller():
    for name, weight in Llama(SHAPE).initialize(5).named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, torch.ones_like(weight))
        else:
            back = name.endswith(("o_proj.weight", "down_proj.weight"))
            expected = 0.02 / math.sqrt(2 * SHAPE.layers) if back else 0.02
            assert weight.std().item() == pytest.approx(expected, rel=0.1)


def test_the_loss_is_of_every_next_token_and_starts_at_a_blind_guess():
    model, ids = random_model(hidden=64), tokens(2, 20)
    with torch.no_grad():
        told = functional.log_softmax(model(ids), dim=-1)
        nats = [-told[b, t, ids[b, t + 1]].item() for b in range(2) for t in range(19)]
        assert model.loss_nats(ids).item() == pytest.approx(sum(nats) / len(nats), rel=1e-5)
        untrained = Llama(SHAPE).initialize(5).loss_nats(ids).item()
    assert untrained == pytest.approx(math.log(VOCABULARY), rel=0.02)
