"""The F16 export computes what transformers does, and a wrong one does not pass the check."""

import gguf
import numpy as np
import pytest
import torch
from small_handoff import ODD_TEXT, VOCABULARY, random_model, write_model
from tokenizers import Tokenizer

from downstream import export
from downstream.device import opened
from downstream.export import MAX_KL_NATS, check_export, export_gguf, log_softmax, permute
from pipeline.errors import StageError

TOKENS = torch.randint(VOCABULARY, (100,), generator=torch.Generator().manual_seed(3)).tolist()


def exported(folder, model):
    write_model(folder / "model", model)
    target = folder / "model-F16.gguf"
    export_gguf(folder / "model", target)
    return folder / "model", target


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("export"), random_model())


@pytest.mark.parametrize(
    "fields",
    [
        {"kv_heads": 1},
        {"kv_heads": 2, "layers": 2},
        {"kv_heads": 4},
        {"rope_theta": 100.0},
        {"norm_epsilon": 0.5},
    ],
)
def test_llama_cpp_computes_what_transformers_does(tmp_path, fields):
    model = random_model(**fields)
    with torch.no_grad():
        told = torch.softmax(model(torch.tensor([TOKENS]))[0], dim=-1)
    assert told.amax(dim=-1).mean() > 10 / VOCABULARY  # far from flat: a fault would show
    differences = check_export(*exported(tmp_path, model), TOKENS)
    assert 0 <= differences["kl_nats"] < MAX_KL_NATS / 10
    assert 0 < differences["max_logit_difference"] < 0.1


def test_rows_left_in_the_order_of_transformers_do_not_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "permute", lambda weight, heads: weight)
    with pytest.raises(StageError, match=r"model-F16\.gguf does not compute .* KL [\d.]+ nats"):
        check_export(*exported(tmp_path, random_model()), TOKENS)


@pytest.mark.parametrize("name", ["rms_norm_eps", "rope_theta"])
def test_a_figure_of_the_shape_that_is_written_wrong_does_not_pass(tmp_path, monkeypatch, name):
    real = export._write_shape

    def wrong(writer, config):
        real(writer, {**config, "rope_parameters": None, name: config[name] * 50})

    monkeypatch.setattr(export, "_write_shape", wrong)
    with pytest.raises(StageError, match="does not compute"):
        check_export(*exported(tmp_path, random_model(norm_epsilon=0.02)), TOKENS)


def test_permuted_rows_are_neighbours_in_pairs_within_each_head():
    rows = np.arange(16).reshape(16, 1)
    assert permute(rows, 2).flatten().tolist() == [
        0, 4, 1, 5, 2, 6, 3, 7,
        8, 12, 9, 13, 10, 14, 11, 15,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        ODD_TEXT,
        "plain words, and more of them",
        " a blank first, then  two, and one last ",
        "<|endoftext|>def f():\n    return 1\n<|endoftext|><|endoftext|> <|endoftext",
        "ünïcödé" + "面積" * 5 + "🙂" * 3,
        "'s 've 'LL can't 1234567 __init__ a_b != == \n\n\n x",
    ],
)
def test_llama_cpp_cuts_text_into_the_same_tokens(files, text):
    model, target = files
    ids = Tokenizer.from_file(str(model / "tokenizer.json")).encode(text).ids
    with opened(target, 128, threads=1, all_logits=False) as llama:
        assert llama.tokenize(text.encode(), add_bos=False, special=True) == ids
        assert llama.detokenize(ids, special=True).decode() == text


def test_the_file_says_what_it_is(files):
    reader = gguf.GGUFReader(files[1])
    said = {name: field.contents() for name, field in reader.fields.items()}
    assert said["llama.attention.head_count"] == 4
    assert said["llama.attention.head_count_kv"] == 2
    assert said["llama.context_length"] == 128
    tokens = said["tokenizer.ggml.tokens"]
    assert len(tokens) == VOCABULARY
    control = gguf.TokenType.CONTROL
    kinds = said["tokenizer.ggml.token_type"]
    assert [tokens[i] for i, kind in enumerate(kinds) if kind == control] == ["<|endoftext|>"]
    for tensor in reader.tensors:
        norm = tensor.name.endswith("norm.weight")
        assert tensor.tensor_type.name == ("F32" if norm else "F16")


def test_the_same_model_gives_the_same_bytes(files, tmp_path):
    export_gguf(files[0], tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == files[1].read_bytes()


def test_log_softmax_sums_to_one_however_large_the_logits():
    told = log_softmax(np.array([[1e4, 0.0, -1e4], [1.0, 2.0, 3.0]]))
    assert np.exp(told).sum(axis=-1) == pytest.approx([1, 1])
    assert told[1, 2] - told[1, 0] == pytest.approx(2)
