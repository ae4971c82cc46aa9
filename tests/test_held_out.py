"""Bits per byte while training, and continuations to read: as counted by hand."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_handoff import put_handoff, random_model
from tokenizers import Tokenizer
from torch.nn import functional

from downstream.held_out import HeldOut
from downstream.samples import SamplesConfig, continue_all, write_samples
from pipeline.records import read_rows

CPU = torch.device("cpu")


@pytest.fixture
def model():
    return random_model(hidden=64)


def bits_by_hand(model, documents, tokens):
    """Every window by itself, as the evaluator does it."""
    nats, size = 0.0, 0
    for row in documents:
        ids = [0, *row["tokens"]]
        size += row["n_bytes"]
        for begin in range(0, len(ids) - 1, tokens):
            window = torch.tensor([ids[begin : begin + tokens + 1]])
            with torch.no_grad():
                logits = model(window[:, :-1])[0]
            nats += float(functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
    return nats / math.log(2) / size


@pytest.mark.parametrize("sequences", [1, 3, 64])
def test_the_figure_is_that_of_every_window_by_itself(bench, model, sequences):
    path, handoff = put_handoff(bench)
    documents = path.parent / handoff.validation.documents.path
    rows = list(read_rows([documents]))
    held_out = HeldOut(documents, 0, 48, sequences, 1_000_000)
    assert held_out.bytes == handoff.validation.bytes
    found = held_out.bits_per_byte(model, CPU)
    assert found == pytest.approx(bits_by_hand(model, rows, 48), abs=1e-4)
    assert model.training  # as a step needs it


def test_a_document_counts_whole_or_not_at_all(tmp_path, model):
    rows = [{"tokens": [5] * n, "n_bytes": 10 * n} for n in (9, 30, 3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    held_out = HeldOut(tmp_path / "d.parquet", 0, 16, 4, 125)
    assert held_out.bytes == 120
    expected = bits_by_hand(model, [rows[0], rows[2]], 16)
    assert held_out.bits_per_byte(model, CPU) == pytest.approx(expected, abs=1e-4)
    nothing = HeldOut(tmp_path / "d.parquet", 0, 16, 4, 5)
    assert nothing.bits_per_byte(model, CPU) is None


def test_the_likeliest_continuation_is_the_likeliest_token_every_time(model):
    config = SamplesConfig(new_tokens=6)
    prompts = [("a", [3, 4, 5]), ("b", [9, 9, 9])]
    found = continue_all(model, prompts, 0, config, None, CPU)
    for (_, prompt), continuation in zip(prompts, found, strict=True):
        ids = [0, *prompt]
        for token in continuation:
            with torch.no_grad():
                assert int(model(torch.tensor([ids]))[0, -1].argmax()) == token
            ids.append(token)
        assert 0 not in continuation


def test_drawn_continuations_depend_on_the_seed_and_the_temperature(model):
    prompts = [("a", [3, 4, 5])] * 20
    config = SamplesConfig(new_tokens=5)
    one, again, other = (continue_all(model, prompts, 0, config, s, CPU) for s in (1, 1, 2))
    assert one == again != other
    cold = SamplesConfig(new_tokens=5, temperature=1e-4)
    likeliest = continue_all(model, prompts, 0, cold, None, CPU)
    assert continue_all(model, prompts, 0, cold, 1, CPU) == likeliest


def test_a_continuation_may_be_longer_than_the_context(model):
    context = model.shape.context_tokens
    prompt = [7, 8, 9, 10] * (context // 4)
    (found,) = continue_all(model, [("a", prompt)], 0, SamplesConfig(new_tokens=3), None, CPU)
    ids = [*prompt]
    for token in found:
        with torch.no_grad():
            assert int(model(torch.tensor([ids[-context:]]))[0, -1].argmax()) == token
        ids.append(token)


def test_samples_show_beginnings_of_every_kind_and_what_follows(bench, tmp_path, model):
    path, handoff = put_handoff(bench)
    documents = path.parent / handoff.validation.documents.path
    tokenizer = path.parent / handoff.tokenizer.path
    config = SamplesConfig(prompts=2, prompt_tokens=10, new_tokens=5)
    write_samples(tmp_path / "samples.md", model, documents, tokenizer, 0, config, 7, CPU)
    text = (tmp_path / "samples.md").read_text()
    assert text.count("\n## ") == 2
    assert text.count("One drawn at temperature 0.8:") == 2
    words = Tokenizer.from_file(str(tokenizer))
    kinds = {}
    for row in read_rows([documents]):
        kinds.setdefault(row["kind"], words.decode(row["tokens"][:10]))
    for kind, beginning in kinds.items():
        assert f"## {kind} of test" in text
        assert beginning in text
