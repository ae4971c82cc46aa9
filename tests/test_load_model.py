"""Directories that transformers wrote, and what is refused because it is no plain Llama."""

import json

import pytest
import torch
from safetensors.torch import load_file
from small_handoff import VOCABULARY, random_model, write_model
from transformers import LlamaConfig, LlamaForCausalLM

from downstream.checkpoint import save_model
from downstream.load_model import load_model
from downstream.model import Llama, Shape
from pipeline.errors import InputError

IDS = torch.randint(90, (2, 40), generator=torch.Generator().manual_seed(0))


def written(folder, dtype=torch.float32, shard="1GB", **fields):
    """A random Llama of transformers' and the directory that it saved."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, **fields})).to(dtype).eval()
    model.save_pretrained(folder, max_shard_size=shard)
    return model


def edit(folder, **fields):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({k: v for k, v in config.items() if v != "gone"}))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tie_word_embeddings": True},
        {"head_dim": 16, "num_key_value_heads": 1},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 123.0}},
        {"shard": "20KB", "rms_norm_eps": 1e-3},
    ],
)
def test_logits_are_those_of_transformers(tmp_path, fields):
    theirs = written(tmp_path, **fields)
    ours = load_model(tmp_path)
    with torch.no_grad():
        expected = theirs(IDS).logits
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(IDS), expected, atol=1e-4, rtol=1e-4)
    assert ours.parameters_count == sum(p.numel() for p in ours.parameters())


def test_weights_of_16_bits_are_read_as_32_and_can_be_trained(tmp_path):
    theirs = written(tmp_path, torch.bfloat16, shard="20KB")
    ours = load_model(tmp_path)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert torch.equal(ours.lm_head.weight.bfloat16(), theirs.lm_head.weight)
    ours.loss_nats(IDS).backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_theta_is_found_where_older_directories_keep_it(tmp_path):
    written(tmp_path)
    edit(tmp_path, rope_parameters="gone", rope_theta=77.0, head_dim=None)
    shape = load_model(tmp_path).shape
    assert (shape.rope_theta, shape.head) == (77.0, 8)


def test_what_save_model_writes_comes_back(tmp_path):
    model = random_model(hidden=64)
    write_model(tmp_path / "a", model)
    again = load_model(tmp_path / "a")
    assert again.shape == model.shape
    assert all(torch.equal(w, again.state_dict()[name]) for name, w in model.state_dict().items())


def test_untied_wide_heads_and_16_bits_are_written_as_transformers_reads_them(tmp_path):
    write_model(tmp_path / "a", random_model(hidden=64))
    shape = Shape(VOCABULARY, 64, 2, 4, 2, 96, 128, head=32, rope_theta=50.0, tied=False)
    model = Llama(shape).initialize(3).bfloat16()
    save_model(tmp_path, model, tmp_path / "a" / "tokenizer.json", 0, 128)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved["lm_head.weight"].dtype == torch.bfloat16
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(
            load_model(tmp_path)(IDS), theirs(IDS).logits, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type is 'linear'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_type is 'llama3'"),
        ({"hidden_size": "gone"}, "lacks 'hidden_size'"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3"),
        ({"num_attention_heads": 0, "head_dim": None}, "zero"),
        ({"num_attention_heads": "four"}, "not all arguments converted"),
        ({"rope_parameters": {"rope_theta": None}}, "float"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', no object"),
        ({"intermediate_size": 40}, r"down_proj.weight is \(32, 48\), not \(32, 40\)"),
        ({"num_hidden_layers": 3}, "lacks weights layers.2"),
        ({"num_hidden_layers": 1}, "unknown weights layers.1"),
    ],
)
def test_what_is_no_plain_llama_is_refused_by_name(tmp_path, fields, told):
    written(tmp_path)
    edit(tmp_path, **fields)
    with pytest.raises(InputError, match=told) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_what_is_missing_or_broken_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        load_model(tmp_path)
    written(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        load_model(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match=r"there is no model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match=r"index\.json has no weight_map"):
        load_model(tmp_path)
