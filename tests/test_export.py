"""The F16 export computes what transformers does, for every form of directory, or is refused."""

import json
import re

import gguf
import numpy as np
import pytest
import torch
from llama_directories import (
    TEXT,
    change_json,
    llama,
    sentencepiece_bytes,
    train_bytes,
    train_pieces,
    write_directory,
)
from safetensors.torch import save_file

from downstream import export
from downstream.export import export_gguf, permute
from downstream.export_check import (
    MAX_KL_NATS,
    MAX_LOGIT_DIFFERENCE,
    ODD_TEXTS,
    check_export,
    log_softmax,
)
from downstream.export_tokenizer import name_pre_tokenizer
from downstream.gguf_model import GgufModel
from pipeline.errors import InputError, StageError

torch.set_num_threads(1)
LLAMA_3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def plain_tokenizer():
    return train_bytes("gpt-2")


@pytest.fixture
def make(tmp_path, plain_tokenizer):
    """Write a directory and export it; returns both paths."""

    def make(dtype=torch.float32, shard="5GB", tokenizer=None, said=(), **fields):
        folder = write_directory(
            tmp_path / "model", llama(**fields), tokenizer or plain_tokenizer, dtype, shard,
            **dict(said),
        )  # fmt: skip
        export_gguf(folder, tmp_path / "model.gguf")
        return folder, tmp_path / "model.gguf"

    return make


def facts_of(path):
    return {name: f.contents() for name, f in gguf.GGUFReader(path).fields.items()}


@pytest.mark.parametrize(
    "form",
    [
        {"num_key_value_heads": 1},
        {"num_key_value_heads": 4, "num_hidden_layers": 3},
        {"head_dim": 32},
        {"tie_word_embeddings": False, "rms_norm_eps": 0.1},
        {"attention_bias": True, "mlp_bias": True},
        {"dtype": torch.bfloat16, "shard": "60KB"},
        {"dtype": torch.float16},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
        {"rope_parameters": LLAMA_3_ROPE},
    ],
    ids=str,
)
def test_llama_cpp_computes_what_transformers_does(make, form):
    folder, exported = make(**form)
    if "shard" in form:
        assert len(list(folder.glob("*.safetensors"))) > 2
    told = check_export(folder, exported)
    assert 0 <= told["kl_nats"] < MAX_KL_NATS / 30
    assert told["logit_span"] > 8  # far from flat: a fault would show
    assert 0 < told["max_logit_difference"] < MAX_LOGIT_DIFFERENCE


@pytest.mark.parametrize("name", ["rope_theta", "rope_scaling"])
def test_rope_as_older_transformers_wrote_it(make, name):
    rope = LLAMA_3_ROPE if name == "rope_scaling" else {**LLAMA_3_ROPE, "rope_type": "default"}
    folder, exported = make(rope_parameters=rope)
    new = exported.read_bytes()
    scaling = rope if name == "rope_scaling" else None
    change_json(
        folder / "config.json", rope_parameters=None, rope_theta=500.0, rope_scaling=scaling
    )
    export_gguf(folder, exported)
    assert exported.read_bytes() == new


def test_rows_left_in_the_order_of_transformers_do_not_pass(make, monkeypatch):
    monkeypatch.setattr(export, "permute", lambda weight, heads: weight)
    folder, exported = make()
    with pytest.raises(StageError, match=r"model\.gguf does not compute .* KL 0\.\d+ nats"):
        check_export(folder, exported)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"rms_norm_eps": 0.5}, "does not compute"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 9.0}}, "does not compute"),
        ({"rope_parameters": {**LLAMA_3_ROPE, "factor": 64.0}}, "does not compute"),
    ],
)
def test_a_figure_of_the_shape_that_is_written_wrong_does_not_pass(make, fault, said):
    right = {"rms_norm_eps": 1e-6, "rope_parameters": LLAMA_3_ROPE}
    folder, exported = make(**right)
    wrong = make(**{**right, **fault})[1]
    change_json(folder / "config.json", **right)
    assert wrong == exported
    with pytest.raises(StageError, match=said):
        check_export(folder, wrong)


def test_permuted_rows_are_neighbours_in_pairs_within_each_head():
    rows = np.arange(16).reshape(16, 1)
    wanted = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]
    assert permute(rows, 2).flatten().tolist() == wanted
    assert permute(rows[:, 0], 2).tolist() == wanted


@pytest.mark.parametrize("kind", ["gpt-2", "llama-bpe", "smaug-bpe", "qwen2", "smollm"])
def test_words_are_cut_as_the_named_models_cut_them(make, kind):
    folder, exported = make(tokenizer=train_bytes(kind))
    assert facts_of(exported)["tokenizer.ggml.pre"] == kind
    check_export(folder, exported)  # of the tokens too


def test_words_that_are_cut_otherwise_do_not_pass(make, monkeypatch):
    monkeypatch.setattr("downstream.export_tokenizer.name_pre_tokenizer", lambda *_: "gpt-2")
    folder, exported = make(tokenizer=train_bytes("llama-bpe"))
    with pytest.raises(StageError, match=r"cuts '.*' into other tokens than model: after \d+"):
        check_export(folder, exported)


@pytest.mark.parametrize("before", ["normalizer", "first", "never"])
def test_pieces_of_llama_2_are_cut_and_joined_alike(make, before):
    tokenizer = train_pieces(before)
    folder, exported = make(tokenizer=tokenizer)
    check_export(folder, exported)
    said = facts_of(exported)
    kinds = said["tokenizer.ggml.token_type"]
    types = gguf.TokenType
    assert said["tokenizer.ggml.model"] == "llama"
    assert said["tokenizer.ggml.add_space_prefix"] == (before != "never")
    assert kinds[:3] == [types.UNKNOWN, types.CONTROL, types.CONTROL]
    assert kinds.count(types.BYTE) == 256
    with GgufModel(exported, 64, threads=1) as opened:
        text = "the lesson: naïve 面積 🙂"
        assert opened.detokenize(opened.tokenize(text)).strip() == text


def test_a_directory_with_nothing_but_sentencepiece_is_cut_alike(make):
    tokenizer = train_pieces()
    folder, exported = make(tokenizer=tokenizer)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        export_gguf(folder, exported)
    path = folder / "tokenizer.model"
    path.write_bytes(sentencepiece_bytes(tokenizer))
    export_gguf(folder, exported)
    check_export(folder, exported)
    with GgufModel(exported, 64, threads=1) as opened:
        for text in [*TEXT[:20], *ODD_TEXTS]:
            assert opened.tokenize(text) == tokenizer.encode(text).ids
    path.write_bytes(sentencepiece_bytes(tokenizer, model_type=1))
    with pytest.raises(InputError, match="is no BPE with byte fallback"):
        export_gguf(folder, exported)
    path.write_bytes(sentencepiece_bytes(tokenizer)[:-9])
    with pytest.raises(InputError, match="is no SentencePiece model"):
        export_gguf(folder, exported)


def test_what_stands_around_a_text_and_talks_is_kept(make):
    from tokenizers.processors import TemplateProcessing

    tokenizer = train_bytes("llama-bpe")
    begin = ("<|begin|>", 0)
    tokenizer.post_processor = TemplateProcessing(single="<|begin|> $A", special_tokens=[begin])
    tokenizer.add_tokens(["<think>"])
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    said = {"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}}
    folder, exported = make(
        tokenizer=tokenizer, said={**said, "chat_template": template}, eos_token_id=[7, 8]
    )
    facts = facts_of(exported)
    assert facts["tokenizer.chat_template"] == template
    assert facts["tokenizer.ggml.bos_token_id"] == 0
    assert facts["tokenizer.ggml.eos_token_id"] == 1
    assert facts["tokenizer.ggml.add_bos_token"] is True
    assert facts["tokenizer.ggml.add_eos_token"] is False
    text = "<think>a lesson<|end|>"
    with GgufModel(exported, 64, threads=1) as opened:
        assert opened.tokenize(text, add_special=True) == tokenizer.encode(text).ids
    (folder / "chat_template.jinja").write_text("{{ 1 }}")
    change_json(folder / "tokenizer_config.json", add_bos_token=False)
    export_gguf(folder, exported)
    assert facts_of(exported)["tokenizer.chat_template"] == "{{ 1 }}"
    assert facts_of(exported)["tokenizer.ggml.add_bos_token"] is False


def test_the_file_says_what_it_is_and_is_the_same_again(make):
    folder, exported = make(head_dim=32)
    said = facts_of(exported)
    assert said["llama.attention.head_count"] == 4
    assert said["llama.attention.head_count_kv"] == 2
    assert said["llama.attention.key_length"] == said["llama.rope.dimension_count"] == 32
    assert said["llama.context_length"] == 256
    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    assert len(tokens) == 512  # the model's embeddings, more than the tokenizer has tokens
    assert kinds[-1] == gguf.TokenType.UNUSED
    control = [tokens[i] for i, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL]
    assert control == ["<|begin|>", "<|end|>"]
    for tensor in gguf.GGUFReader(exported).tensors:
        norm = tensor.name.endswith("norm.weight")
        assert tensor.tensor_type.name == ("F32" if norm else "F16")
    first = exported.read_bytes()
    export_gguf(folder, exported)
    assert exported.read_bytes() == first


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"model_type": "qwen2"}, "model_type 'qwen2'"),
        ({"model_type": "mistral", "sliding_window": 32}, "sliding_window 32"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"max_position_embeddings": None}, "max_position_embeddings None"),
        ({"quantization_config": {"bits": 4}}, "quantized already"),
        ({"num_hidden_layers": 3}, "no tensor 'model.layers.2.input_layernorm.weight'"),
        ({"tie_word_embeddings": False}, "no tensor 'lm_head.weight'"),
        ({"vocab_size": 300}, "a token of id 399"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "scaling of type 'yarn'"),
    ],
)
def test_what_a_gguf_file_cannot_say_is_refused(make, fields, found):
    folder, exported = make()
    before = exported.read_bytes()
    change_json(folder / "config.json", **fields)
    with pytest.raises(InputError, match=re.escape(found)):
        export_gguf(folder, exported)
    assert exported.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "No such file"), (b"\x10", "header too small"), (torch.int8, "as I8")],
)
def test_weights_that_are_missing_cut_short_or_no_floats_are_refused(make, content, found):
    folder, exported = make()
    path = folder / "model.safetensors"
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file({"model.norm.weight": torch.zeros(4, dtype=content)}, path)
    with pytest.raises(InputError, match=rf"model\.safetensors .*{found}"):
        export_gguf(folder, exported)


def test_a_weight_too_large_for_f16_is_refused(tmp_path, plain_tokenizer):
    model = llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = 7e4
    folder = write_directory(tmp_path / "model", model, plain_tokenizer)
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.up_proj\.weight' .*too large for F16"):
        export_gguf(folder, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, '{"type": "Whitespace"}'),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
         '"add_prefix_space": true'),
        ({"pre_tokenizer": None}, '{"type": "none"}'),
        ({"normalizer": {"type": "Lowercase"}}, '{"type": "Lowercase"}'),
        ({"model": {"type": "BPE", "ignore_merges": True}}, "ignore_merges True"),
    ],
)  # fmt: skip
def test_a_pre_tokenizer_that_llama_cpp_has_no_name_for_is_named(
    plain_tokenizer, tmp_path, change, found
):
    record = {**json.loads(plain_tokenizer.to_str()), **change}
    with pytest.raises(InputError, match=re.escape(found)) as refused:
        name_pre_tokenizer(tmp_path, record)
    assert refused.value.exit_code == 2


def test_log_softmax_sums_to_one_however_large_the_logits():
    told = log_softmax(np.array([[1e4, 0.0, -1e4], [1.0, 2.0, 3.0]]))
    assert np.exp(told).sum(axis=-1) == pytest.approx([1, 1])
    assert told[1, 2] - told[1, 0] == pytest.approx(2)
