"""Nats of held-out text: by the definition, equal through llama.cpp and transformers."""

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_language_model import library_texts, put_small_model, put_validation, small_model
from transformers import LlamaForCausalLM

from downstream.gguf_model import ROWS, GgufModel
from downstream.next_tokens import open_next_tokens
from downstream.perplexity import chosen_documents, measure_quality, windows
from pipeline.errors import InputError

WINDOW = ROWS + 32  # more than a block of rows, and less than two


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    path = tmp_path_factory.mktemp("validation") / "validation.parquet"
    texts = {name: text[:1_500] for name, text in library_texts().items()}
    texts["odd"] = "Ça coûte 12 €; 面積 🙂\n\n\tdef f(x):\r\n  \x00 <|end_of_text|> end"
    return path, put_validation(path, small_model()[0], texts)


def nats_by_definition(folder, tokens):
    """A token is told from those before it in its window; the first from the end of text."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([0, *tokens])
    total = 0.0
    for begin in range(0, len(ids) - 1, WINDOW):
        window = ids[begin : begin + WINDOW + 1]
        with torch.no_grad():
            told = model(window[None, :-1]).logits[0].log_softmax(-1)
        total -= told.gather(1, window[1:, None]).double().sum().item()
    return total


def test_both_readers_tell_what_the_definition_says(validation):
    path, rows = validation
    directory, gguf = small_model()
    by_transformers = measure_quality(directory, path, WINDOW, 100_000, threads=1)
    by_llama_cpp = measure_quality(gguf, path, WINDOW, 100_000, threads=1)
    assert [row["doc_id"] for row in by_llama_cpp] == [row["doc_id"] for row in rows]
    for row, one, other in zip(rows, by_transformers, by_llama_cpp, strict=True):
        right = nats_by_definition(directory, row["tokens"])
        assert one["nats"] == pytest.approx(right, rel=1e-6)
        assert other["nats"] == pytest.approx(right, rel=1e-3)
        assert one["scored_tokens"] == other["scored_tokens"] == len(row["tokens"])
        assert (one["kind"], one["keep"], one["n_bytes"]) == (
            row["kind"], row["keep"], row["n_bytes"],
        )  # fmt: skip


def test_a_model_of_elsewhere_splits_the_text_by_itself(validation):
    path, rows = validation
    directory, gguf = small_model()
    for model in (directory, gguf):
        own = measure_quality(model, path, WINDOW, 100_000, threads=1, own_tokens=True)
        told = measure_quality(model, path, WINDOW, 100_000, threads=1)
        assert [row["nats"] for row in own] == [row["nats"] for row in told]
    with open_next_tokens(gguf, 64, 1) as opened:
        assert [opened.tokenize(row["text"]) for row in rows] == [row["tokens"] for row in rows]


def test_documents_count_whole_or_not_at_all(validation):
    path, rows = validation
    most = rows[0]["n_bytes"] + rows[-1]["n_bytes"]
    chosen = [row["doc_id"] for row in chosen_documents(path, most)]
    assert chosen == [rows[0]["doc_id"], rows[-1]["doc_id"]]


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 12))
def test_each_token_is_told_once_from_those_before_it(tokens, context_tokens):
    pieces = list(windows(tokens, 0, context_tokens))
    assert [token for piece in pieces for token in piece[1:]] == tokens
    assert all(2 <= len(piece) <= context_tokens + 1 for piece in pieces)
    assert [piece[0] for piece in pieces] == [0, *tokens][: len(tokens) : context_tokens]


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF, and then nothing of the kind")
    for wrong in (tmp_path / "model.gguf", tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(InputError, match="cannot load"), open_next_tokens(wrong, 64, 1):
            pass


def test_a_short_context_is_one_block_and_a_longer_text_is_refused():
    tokens = [5 * i % 500 for i in range(33)]
    with GgufModel(small_model()[1], 32, 1) as short, GgufModel(small_model()[1], 512, 1) as long:
        (block,) = [rows.copy() for rows in short.logits(tokens[:32])]
        (same,) = [rows.copy() for rows in long.logits(tokens[:32])]
        assert block == pytest.approx(same, abs=1e-3)
        with pytest.raises(InputError, match="33 tokens for a context of 32"):
            list(short.logits(tokens))


@pytest.mark.long
def test_the_command_prints_what_the_function_returns(validation):
    path, _ = validation
    gguf = small_model()[1]
    done = subprocess.run(
        [sys.executable, "-m", "downstream.perplexity", gguf, path, "--tokens=64", "--threads=1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == measure_quality(gguf, path, 64, 100_000, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_models_agree_too(tmp_path, validation, seed):
    path, _ = validation
    directory, gguf = put_small_model(tmp_path, seed)
    told = [
        sum(row["nats"] for row in measure_quality(model, path, WINDOW, 100_000, 1))
        for model in (directory, gguf)
    ]
    assert told[1] == pytest.approx(told[0], rel=1e-3)
