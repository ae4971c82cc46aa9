"""Fine-tuning: rows, the loss, resuming, and what is refused."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_handoff import put_handoff
from tiny_llama import END_OF_TEXT, tiny_model, tiny_shape, write_tiny
from torch.nn import functional

from downstream import finetune as finetune_module
from downstream.answer_rows import closed, lay_rows
from downstream.chat import Answer, Chat
from downstream.conversations import read_conversations
from downstream.derived import describe_model
from downstream.finetune import FinetuneConfig, finetune
from downstream.load_model import load_model
from downstream.lora import LoraConfig, known_noise
from downstream.tuned_model import TunedAdapter, TunedWhole
from flows.finetune import finetune_model
from pipeline.errors import InputError

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]
SHORT = FinetuneConfig(
    epochs=2, learning_rate=0.01, sequences_per_step=2, held_out_share=0.2, threads=1,
    checkpoint_steps=3,
)  # fmt: skip
SMALL = {"context_tokens": 64}


def _chat(question, answer, told=None):
    system = [{"role": "system", "content": told}] if told else []
    asked = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*system, *asked]


def _sums(count=60):
    rng = random.Random(0)
    drawn = [(rng.randrange(5), rng.randrange(5)) for _ in range(count)]
    return [_chat(f"{NUMBERS[a]} and {NUMBERS[b]}?", f"It is {NUMBERS[a + b]}.") for a, b in drawn]


def _write_chats(path, chats):
    rows = (json.dumps({"id": i, "messages": chat}) for i, chat in enumerate(chats))
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny", **SMALL)


@pytest.fixture(scope="module")
def chat(tiny):
    return Chat("test", tiny)


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12), st.booleans()), min_size=1),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_rows_hold_every_example_whole_and_once(sizes, seed):
    answers = []
    for number, (prompt, answer, ends) in enumerate(sizes, 1):
        ids = [number] * (prompt + answer) + [END_OF_TEXT] * ends
        answers.append(Answer(ids, prompt))
    rows = lay_rows(answers, 26, END_OF_TEXT, seed)
    assert rows.ids.shape[1] == 27
    assert rows.learnt_tokens == sum(len(a.ids) - a.prompt_tokens for a in answers)
    found = []
    for ids, weights in zip(rows.ids.tolist(), rows.weights.tolist(), strict=True):
        at = 0
        while at < len(ids) and ids[at] != END_OF_TEXT:
            answer = answers[ids[at] - 1]
            whole = closed(answer.ids, END_OF_TEXT)
            assert ids[at : at + len(whole)] == whole
            learnt = [at + answer.prompt_tokens <= t + 1 < at + len(answer.ids)
                      for t in range(at, at + len(whole) - 1)]  # fmt: skip
            assert weights[at : at + len(whole) - 1] == learnt
            found.append(ids[at])
            at += len(whole)
        assert set(ids[at:]) <= {END_OF_TEXT}
        assert not any(weights[max(at - 1, 0) :])
    assert sorted(found) == list(range(1, len(answers) + 1))


def _loss_of_each_alone(model, answers):
    """Mean nats of the learnt tokens, every example read by itself."""
    nats = []
    for answer in answers:
        logits = model(torch.tensor([answer.ids[:-1]]))[0]
        all_nats = functional.cross_entropy(logits, torch.tensor(answer.ids[1:]), reduction="none")
        nats += all_nats[answer.prompt_tokens - 1 :].tolist()
    return sum(nats) / len(nats)


@pytest.mark.parametrize(
    "kind", ["whole", pytest.param("adapter", marks=pytest.mark.slow, id="adapter")]
)
def test_examples_side_by_side_do_not_see_each_other(tiny, chat, kind):
    answers = chat.answers(_sums(9))
    rows = lay_rows(answers, 64, END_OF_TEXT, 0)
    assert len(rows) < 9
    tuned = TunedWhole(tiny) if kind == "whole" else TunedAdapter(tiny, LoraConfig(), 0)
    with torch.no_grad():
        loss = tuned.loss_nats(rows.ids.long(), END_OF_TEXT, rows.weights)
        alone = _loss_of_each_alone(load_model(tiny), answers)
    assert float(loss) == pytest.approx(alone, rel=1e-5)


def test_a_tuned_model_answers_better_and_says_where_it_comes_from(tiny, tmp_path, capsys):
    data = _write_chats(tmp_path / "sums.jsonl", _sums())
    changes = ("epochs=4", "learning_rate=0.01", "sequences_per_step=2", "held_out_share=0.2",
               "threads=1")  # fmt: skip
    finetune_model(tiny, data, tmp_path / "out", False, changes)
    assert "60 of 60 answers used" in capsys.readouterr().out
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    assert lineage["finetuned_from"]["sha256"] == describe_model("test", tiny)["sha256"]
    assert lineage["data"]["name"] == "sums.jsonl"
    assert lineage["settings"]["learning_rate"] == 0.01
    loss_nats = lineage["result"]["held_out_loss_nats"]
    assert loss_nats["after"] < 0.6 * loss_nats["before"]
    held_out = read_conversations("test", data, 0.2, 0).held_out
    chat = Chat("test", tmp_path / "out", needs_template=True)
    answers = chat.answers(held_out)
    assert _loss_of_each_alone(load_model(tmp_path / "out"), answers) == pytest.approx(
        loss_nats["after"], rel=1e-4
    )
    # the directory's own template asks in the tokens that were learnt after
    asked = chat.tokenizer.apply_chat_template(
        held_out[0][:-1], add_generation_prompt=True, return_dict=False
    )
    assert asked == answers[0].ids[: answers[0].prompt_tokens]
    assert load_model(tmp_path / "out").shape == tiny_shape(**SMALL)
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    finetune_model(tiny, data, tmp_path / "out", False, changes)  # nothing is left to do
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="exists and is not what this would make"):
        finetune(tiny, data, tmp_path / "out", SHORT)


def test_a_stopped_tuning_goes_on_to_the_same_bytes(tiny, tmp_path, monkeypatch):
    data = _write_chats(tmp_path / "sums.jsonl", _sums())
    whole = finetune(tiny, data, tmp_path / "whole", SHORT)
    steps, last = [], [7]

    class Stops:
        """Stops the run after its last step, one past a checkpoint."""

        def __enter__(self):
            def advance(n=1, note=None):
                steps.append(n)
                if sum(steps) == last[0]:
                    raise KeyboardInterrupt

            return advance

        def __exit__(self, *error):
            return False

    monkeypatch.setattr(finetune_module, "progress_bar", lambda *_: Stops())
    with pytest.raises(KeyboardInterrupt):
        finetune(tiny, data, tmp_path / "stopped", SHORT)
    assert not (tmp_path / "stopped").exists()
    assert list(tmp_path.glob("stopped.*.partial/checkpoint.pt"))
    steps.clear()
    last[0] = None
    assert finetune(tiny, data, tmp_path / "stopped", SHORT) == whole
    assert steps[0] == 6  # it did go on from the checkpoint
    for name in ("model.safetensors", "metrics.jsonl", "lineage.json", "tokenizer_config.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_a_step_is_one_however_many_passes_it_takes(tiny, tmp_path):
    data = _write_chats(tmp_path / "sums.jsonl", _sums())
    once = finetune(tiny, data, tmp_path / "once", SHORT)
    twice = finetune(
        tiny, data, tmp_path / "twice", SHORT.model_copy(update={"sequences_at_once": 1})
    )
    for when in ("before", "after"):
        losses = [one["held_out_loss_nats"][when] for one in (once, twice)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("said", ["null", "absent"])
def test_a_config_without_an_end_of_text_has_that_of_the_tokenizer(tmp_path, said):
    folder = write_tiny(tmp_path / "tiny", context_tokens=64)
    config = json.loads((folder / "config.json").read_text())
    del config["eos_token_id"]
    more = {"eos_token_id": None} if said == "null" else {}
    (folder / "config.json").write_text(json.dumps({**config, **more}))
    data = _write_chats(tmp_path / "chats.jsonl", _sums(40))
    result = finetune(folder, data, tmp_path / "out", SHORT.model_copy(update={"epochs": 1}))
    assert result["answers"]["kept"] == 40


def test_a_handoffs_chats_come_with_their_split(bench):
    path, handoff = put_handoff(bench)
    found = read_conversations("test", path, 0.05, 0)
    rows = pq.read_table(path.parent / handoff.finetuning.path).to_pylist()
    for name, side in (("train", found.train), ("validation", found.held_out)):
        assert side == [row["messages"] for row in rows if row["split"] == name]
    assert found.source["sha256"] == handoff.finetuning.sha256
    assert found.source["split"] == "given"


def test_chats_whose_table_holds_none_out_are_split_by_chat(tmp_path):
    rows = [{"doc_id": str(i), "split": "train", "messages": m} for i, m in enumerate(_sums(40))]
    path = tmp_path / "chats.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = read_conversations("test", path, 0.3, 0)
    assert found.source["split"] == "by chat"
    assert 2 < len(found.held_out) < 25
    assert len(found.held_out) + len(found.train) == 40


def test_data_that_does_not_serve_is_refused_in_one_line(tiny, tmp_path):
    good = json.dumps({"messages": _chat("a", "b")})
    for text, words in (
        ('{"text": "a"}', r"line 1 has text; each needs messages: "),
        (f"{good}\n{{", r"line 2 is not JSON"),
        ("[]", "no JSON object"),
        ('{"messages": [{"role": "user"}]}', "has the message"),
        (good, "has 1 chats, none of them (held out|for training)"),
        ("", "has 0 chats, none of them for training"),
    ):
        path = tmp_path / "data.jsonl"
        path.write_text(text)
        with pytest.raises(InputError, match=words) as refused:
            finetune(tiny, path, tmp_path / "out", SHORT)
        assert "\n" not in str(refused.value)
    table = pa.table({"question": ["a"], "answer": ["b"]})
    pq.write_table(table, tmp_path / "qa.parquet")
    with pytest.raises(InputError, match="row 1 has question, answer"):
        finetune(tiny, tmp_path / "qa.parquet", tmp_path / "out", SHORT)
    with pytest.raises(InputError, match="is no file"):
        finetune(tiny, tmp_path / "none.jsonl", tmp_path / "out", SHORT)
    with pytest.raises(InputError, match="without --lora; add --lora"):
        finetune_model(tiny, path, tmp_path / "out", False, ("lora.rank=4",))


def test_what_does_not_fit_is_dropped_with_a_reason_and_counted(tiny, tmp_path):
    long = "word " * 80
    chats = [*_sums(40), _chat(long, "b"), _chat("a", long), _chat("a", " ")]
    result = finetune(
        tiny, _write_chats(tmp_path / "chats.jsonl", chats), tmp_path / "out",
        SHORT.model_copy(update={"epochs": 1}),
    )  # fmt: skip
    assert result["answers"]["kept"] == 40
    assert result["answers"]["dropped"] == {"empty_answer": 1, "prompt_too_long": 1, "too_long": 1}
    every = _write_chats(tmp_path / "long.jsonl", [_chat(long, "b")] * 30)
    with pytest.raises(InputError, match=r"of 30 answers 0 are usable.*'prompt_too_long': 30"):
        finetune(tiny, every, tmp_path / "none", SHORT)


@pytest.mark.long
def test_an_adapter_is_saved_beside_the_model_that_it_makes(tmp_path):
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    base = write_tiny(tmp_path / "base", tiny_model(tied=False, **SMALL))
    bytes_before = (base / "model.safetensors").read_bytes()
    data = _write_chats(tmp_path / "sums.jsonl", _sums())
    config = LoraConfig(rank=4, targets=("q_proj", "v_proj", "down_proj"))
    result = finetune(base, data, tmp_path / "out", SHORT, config)
    # q: 32 x 32, v: 16 x 32, down: 32 x 64
    assert result["trained_parameters"] == 4 * ((32 + 32) + (32 + 16) + (64 + 32))
    assert result["held_out_loss_nats"]["after"] < result["held_out_loss_nats"]["before"]
    assert (base / "model.safetensors").read_bytes() == bytes_before
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    plain = LlamaForCausalLM.from_pretrained(base)
    merged = LlamaForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        start, made = plain(ids).logits, merged(ids).logits
        with known_noise():
            adapter = PeftModel.from_pretrained(plain, tmp_path / "out" / "adapter")
        adapted = adapter(ids).logits
    assert torch.allclose(adapted, made, atol=1e-5)
    assert not torch.allclose(start, made, atol=1e-3)
    assert str(tmp_path) not in (tmp_path / "out" / "adapter" / "adapter_config.json").read_text()
    again = finetune(base, data, tmp_path / "again", SHORT, config)
    assert again == result
    with pytest.raises(InputError, match="has no matrix that ends in 'c_attn'"):
        finetune(base, data, tmp_path / "bad", SHORT, LoraConfig(targets=("c_attn",)))
