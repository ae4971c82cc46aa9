"""KL and agreement against the reference: by the definition, and for a model and itself."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_language_model import library_texts, put_small_model, put_validation, small_model
from transformers import LlamaForCausalLM

from downstream.gguf_model import ROWS
from downstream.likeness import kl_nats, measure_likeness, ratio_over_documents
from downstream.quantize import quantize_file
from pipeline.errors import InputError

WINDOW = ROWS + 32


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    path = tmp_path_factory.mktemp("validation") / "validation.parquet"
    texts = {name: text[:1_000] for name, text in library_texts().items()}
    return path, put_validation(path, small_model()[0], texts)


def put_other(folder):
    """A copy of the small model whose weights were moved a little."""
    torch.manual_seed(1)
    model = LlamaForCausalLM.from_pretrained(small_model()[0], dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((small_model()[0] / name).read_bytes())
    return model.eval()


def test_the_figures_are_those_of_the_definition(validation, tmp_path):
    path, rows = validation
    other = put_other(tmp_path)
    reference = LlamaForCausalLM.from_pretrained(small_model()[0], dtype=torch.float32).eval()
    divergences, same = [], []
    for row in rows:
        ids = torch.tensor([0, *row["tokens"]])
        for begin in range(0, len(ids) - 1, WINDOW):
            window = ids[begin : begin + WINDOW + 1][None, :-1]
            with torch.no_grad():
                p = reference(window).logits[0].double().log_softmax(-1)
                q = other(window).logits[0].double().log_softmax(-1)
            divergences += (p.exp() * (p - q)).sum(-1).tolist()
            same += (p.argmax(-1) == q.argmax(-1)).tolist()
    told = measure_likeness(tmp_path, small_model()[0], path, WINDOW, 100_000, threads=1)
    assert told["tokens"] == len(divergences) == sum(len(row["tokens"]) for row in rows)
    assert told["documents"] == len(rows)
    assert told["kl_mean_nats"] == pytest.approx(np.mean(divergences), rel=1e-4)
    assert told["kl_median_nats"] == pytest.approx(np.median(divergences), rel=1e-3)
    assert told["kl_99th_percentile_nats"] == pytest.approx(
        np.quantile(divergences, 0.99), rel=1e-3
    )
    assert told["top1_agreement"] == pytest.approx(np.mean(same), abs=1e-9)
    assert told["kl_mean_nats"] > 0.1
    assert 0 < told["kl_stderr_nats"] < told["kl_mean_nats"]
    assert 0.1 < told["top1_agreement"] < 0.99


def test_a_model_is_like_itself_and_its_own_directory(validation):
    path, _ = validation
    directory, gguf = small_model()
    told = measure_likeness(gguf, gguf, path, WINDOW, 4_000, threads=1)
    assert told["kl_mean_nats"] == told["kl_99th_percentile_nats"] == 0
    assert told["top1_agreement"] == 1
    across = measure_likeness(gguf, directory, path, WINDOW, 4_000, threads=1)
    assert 0 < across["kl_mean_nats"] < 1e-4
    assert across["top1_agreement"] > 0.99


def test_kl_is_of_distributions_and_not_of_logits():
    rows = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    assert kl_nats(rows, rows + 3) == pytest.approx(0, abs=1e-6)
    two = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], dtype=np.float32))
    assert kl_nats(two[:1], two[1:])[0] == pytest.approx(0.5 * np.log(0.5 / 0.9 * 0.5 / 0.1))


def test_the_error_is_of_documents_and_not_of_tokens():
    half = [np.zeros(50), np.ones(50)]
    assert ratio_over_documents(half) == (0.5, pytest.approx(0.5))
    assert ratio_over_documents(half[:1]) == (0.0, None)
    alike = ratio_over_documents([np.array([0.0, 1.0] * k) for k in (5, 10, 20)])
    assert alike == (0.5, pytest.approx(0))


def test_models_of_different_tokenizers_are_not_compared(validation, tmp_path):
    path, _ = validation
    other = put_small_model(tmp_path, vocabulary=500)[1]
    with pytest.raises(InputError, match="500 tokens"):
        measure_likeness(other, small_model()[1], path, WINDOW, 4_000, threads=1)


def test_no_document_within_the_limit_is_said(validation):
    gguf = small_model()[1]
    with pytest.raises(InputError, match="no document within 10 bytes"):
        measure_likeness(gguf, gguf, validation[0], WINDOW, 10, threads=1)


@pytest.mark.long
def test_fewer_bits_are_less_alike_and_the_command_says_so(validation, tmp_path):
    path, _ = validation
    gguf = small_model()[1]
    divergences = []
    for name in ("Q8_0", "Q4_0"):
        quantize_file(gguf, tmp_path / f"{name}.gguf", name, None, 1)
        done = subprocess.run(
            [sys.executable, "-m", "downstream.likeness", tmp_path / f"{name}.gguf", gguf, path,
             "--tokens=160", "--threads=1"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        divergences.append(json.loads(done.stdout)["kl_mean_nats"])
    assert 0 < divergences[0] < divergences[1]
