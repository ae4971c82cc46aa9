"""Preferences: pairs and what becomes of them, the figures, and trl's real step."""

import json
import random

import pytest
import torch
from tiny_llama import write_tiny

from downstream.chat import Chat, write_template
from downstream.load_model import load_model
from downstream.lora import LoraConfig, known_noise, open_llama
from downstream.prefer import PreferConfig, _trainer, compare, margin_nats, prefer, read_pairs
from flows.finetune import prefer_answers
from pipeline.errors import InputError

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]
HALF = PreferConfig(held_out_share=0.5)


def _pairs(count=40):
    rng, rows = random.Random(0), []
    for _ in range(count):
        a, b = rng.randrange(5), rng.randrange(5)
        rows.append({
            "prompt": f"{NUMBERS[a]} and {NUMBERS[b]}?",
            "chosen": f"It is {NUMBERS[a + b]}.",
            "rejected": f"{NUMBERS[a + b]}!!",
        })  # fmt: skip
    return rows


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A model with a chat template, as fine-tuning leaves it."""
    folder = write_tiny(tmp_path_factory.mktemp("tuned") / "tuned", context_tokens=64)
    write_template(folder)
    return folder


@pytest.fixture(scope="module")
def chat(tuned):
    return Chat("prefer", tuned, needs_template=True)


def test_pairs_are_split_by_their_prompt_and_bad_ones_counted(chat, tmp_path):
    long = "word " * 80
    rows = [
        *_pairs(),
        {"prompt": "a", "chosen": "b", "rejected": "b"},
        {"prompt": long, "chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": "b", "rejected": long},
        {"prompt": "a", "chosen": "b", "rejected": " "},
    ]
    path = _write(tmp_path / "pairs.jsonl", rows)
    train, held_out, ledger = read_pairs(chat, path, 64, HALF)
    assert (len(train) + len(held_out), ledger.rows_in) == (40, 44)
    assert ledger.dropped == {"alike": 1, "empty_answer": 1, "prompt_too_long": 1, "too_long": 1}
    asked = [{pair.prompt[0]["content"] for pair in side} for side in (train, held_out)]
    assert asked[0]
    assert asked[1]
    assert not asked[0] & asked[1]


def test_texts_and_messages_are_one(chat, tmp_path):
    rows = _pairs()
    as_messages = [
        {"prompt": [{"role": "user", "content": row["prompt"]}],
         "chosen": [{"role": "assistant", "content": row["chosen"]}],
         "rejected": [{"role": "assistant", "content": row["rejected"]}]}
        for row in rows
    ]  # fmt: skip
    found = [
        read_pairs(chat, _write(tmp_path / f"{i}.jsonl", part), 64, HALF)[:2]
        for i, part in enumerate((rows, as_messages))
    ]
    assert found[0] == found[1]


def test_pairs_that_do_not_serve_are_refused_in_one_line(chat, tuned, tmp_path):
    row = _pairs(1)[0]
    for rows, words in (
        ([{"prompt": "a", "completion": "b"}], "line 1 has prompt, completion and the chosen None"),
        ([{**row, "rejected": [{"role": "user", "content": "a"}]}], "the rejected .*each needs"),
        ([{**row, "chosen": [{"content": "a"}]}], "the chosen .*each needs"),
        ([{**row, "rejected": row["chosen"]}], r"0 usable pairs.*\(dropped: \{'alike': 1\}\)"),
        ([row], "1 usable pairs, none of them (for training|held out)"),
    ):
        with pytest.raises(InputError, match=words) as refused:
            read_pairs(chat, _write(tmp_path / "pairs.jsonl", rows), 64, HALF)
        assert "\n" not in str(refused.value)
    plain = write_tiny(tmp_path / "plain", context_tokens=64)
    with pytest.raises(InputError, match="has no chat template; fine-tune it first"):
        prefer(plain, tmp_path / "pairs.jsonl", tmp_path / "out", HALF)


def test_figures_compare_the_margins_of_before_and_after():
    assert compare([-1.0, 2.0, 3.0, 0.0], [1.0, 3.0, 2.0, 2.0]) == {
        "margin_nats": {"before": 1.0, "after": 2.0},
        "chosen_likelier_share": {"before": 0.5, "after": 1.0},
        "reward_accuracy": 0.75,
    }


@pytest.mark.long
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4, dropout=0.3)], ids=["whole", "adapter"])
def test_the_chosen_answers_get_likelier_than_the_rejected(tuned, chat, tmp_path, capsys, lora):
    data = _write(tmp_path / "pairs.jsonl", _pairs(80))
    bytes_before = (tuned / "model.safetensors").read_bytes()
    changes = ("epochs=2", f"learning_rate={0.01 if lora else 0.001}", "held_out_share=0.3",
               *(("lora.rank=4", "lora.dropout=0.3") if lora else ()))  # fmt: skip
    prefer_answers(tuned, data, tmp_path / "out", lora is not None, changes)
    assert "80 of 80 pairs used" in capsys.readouterr().out
    assert (tuned / "model.safetensors").read_bytes() == bytes_before
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    result = lineage["result"]
    assert result["margin_nats"]["after"] > result["margin_nats"]["before"] + 0.1
    assert result["reward_accuracy"] > 0.9
    # the figures are those of the files: our own model, read anew, says the same of the held-out
    config = PreferConfig(epochs=2, learning_rate=0.001, held_out_share=0.3)
    _, held_out, _ = read_pairs(chat, data, 64, config)
    for folder, when in ((tuned, "before"), (tmp_path / "out", "after")):
        model = _Answers(load_model(folder))
        margins = [margin_nats(model, pair) for pair in held_out]
        assert sum(margins) / len(margins) == pytest.approx(
            result["margin_nats"][when], rel=1e-3, abs=1e-3
        )
    metrics = (tmp_path / "out" / "metrics.jsonl").read_text()
    losses = [json.loads(line) for line in metrics.splitlines()]
    assert losses[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # the reference is the start
    assert losses[-1]["loss"] < losses[0]["loss"]
    assert (tmp_path / "out" / "adapter").exists() == (lora is not None)


@pytest.mark.long
def test_the_dropout_of_an_adapter_is_left_on_by_trl(tuned, chat, tmp_path):
    pairs, _, _ = read_pairs(chat, _write(tmp_path / "pairs.jsonl", _pairs()), 64, HALF)
    lora = LoraConfig(rank=4, dropout=0.3)
    with known_noise():
        trainer = _trainer(open_llama(tuned), tuned, chat, pairs, tmp_path, HALF, lora)
    found = {m.p for m in trainer.model.modules() if isinstance(m, torch.nn.Dropout)}
    assert found == {0.3}


class _Answers:
    """Our model behind the call that transformers' answers to."""

    device = torch.device("cpu")

    def __init__(self, model):
        self.model = model

    def __call__(self, ids):
        self.logits = self.model(ids)
        return self
