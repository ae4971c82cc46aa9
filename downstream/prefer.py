"""Direct preference optimization (arXiv 2305.18290): of two answers the better one gets likelier.

A thin step over trl's DPOTrainer. Its data are rows of `prompt`, `chosen` and `rejected`, texts or
messages; the model must have been fine-tuned before, for the prompts are laid out by its chat
template. What is reported is measured here on held-out pairs, before and after: how much likelier
the chosen answer is than the rejected one, in nats over the whole answer, and for which share of
pairs it is. The reward accuracy is DPO's own: for which share the margin rose over the start's.

A killed run starts again: a step of preference is short beside what comes before it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from downstream.chat import Answer, Chat
from downstream.conversations import describe_data, rows_of
from downstream.derived import begin, describe_model, read_config, read_result
from downstream.lora import LoraConfig, known_noise, open_llama, peft_config, save_adapter
from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.ledger import Ledger
from pipeline.manifest import hash_json
from pipeline.splits import place_of

STAGE = "prefer"
_CURE = "each needs prompt, chosen and rejected: texts, or lists of messages with role and content"


class PreferConfig(Section):
    """How preferences are learnt."""

    epochs: int = Field(1, ge=1, le=100, description="Times that every pair is read.")
    learning_rate: float = Field(
        1e-6, gt=0, le=1, description="Peak rate of AdamW; ten times it with LoRA is usual."
    )
    beta: float = Field(
        0.1, gt=0, le=10, description="What holds the model near its start: higher is nearer."
    )
    pairs_per_step: int = Field(8, ge=1, le=4_096, description="Pairs of a step.")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="Share of the steps that warm up.")
    held_out_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the pairs that only measure."
    )
    seed: int = Field(0, ge=0, description="Of the split, the order and the adapter.")


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, as messages and as tokens."""

    prompt: list[dict[str, str]]
    chosen: list[dict[str, str]]
    rejected: list[dict[str, str]]
    tokens: tuple[Answer, Answer]


def prefer(
    model: Path, data: Path, out: Path, config: PreferConfig, lora: LoraConfig | None = None
) -> dict[str, Any]:
    """Tune a chat model on pairs into the directory `out`; what came out, as in its lineage."""
    described = describe_model(STAGE, model)
    chat = Chat(STAGE, model, needs_template=True)
    context_tokens = int(read_config(STAGE, model)["max_position_embeddings"])
    train, held_out, ledger = read_pairs(chat, data, context_tokens, config)
    record = {
        "tuned_from": described,
        "data": describe_data(data),
        "settings": {**config.what(), "lora": lora and lora.what()},
    }
    derived = begin(STAGE, out, record)
    if derived is None:
        return read_result(out)
    policy = open_llama(model)
    before = [margin_nats(policy, pair) for pair in held_out]
    with known_noise():
        trainer = _trainer(policy, model, chat, train, derived.scratch, config, lora)
        trainer.train()
    # as before training: without dropout, and without the 16 bits that training had on a GPU
    policy = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()
    after = [margin_nats(policy, pair) for pair in held_out]
    _save(policy, model, described["name"], derived.folder)
    _write_metrics(trainer.state.log_history, derived.folder / "metrics.jsonl")
    result = {"pairs": asdict(ledger), "held_out": len(held_out), **compare(before, after)}
    derived.seal(result)
    return result


def compare(before: list[float], after: list[float]) -> dict[str, Any]:
    """Margins of held-out pairs (nats) before and after, and for which share they are right."""
    count = len(before)
    rose = sum(b < a for b, a in zip(before, after, strict=True))
    return {
        "margin_nats": {"before": sum(before) / count, "after": sum(after) / count},
        "chosen_likelier_share": {
            "before": sum(m > 0 for m in before) / count,
            "after": sum(m > 0 for m in after) / count,
        },
        "reward_accuracy": rose / count,
    }


def read_pairs(
    chat: Chat, data: Path, context_tokens: int, config: PreferConfig
) -> tuple[list[Pair], list[Pair], Ledger]:
    """Pairs to learn, pairs held out, and what became of all; InputError where a side is empty."""
    train: list[Pair] = []
    held_out: list[Pair] = []
    dropped: Counter[str] = Counter()
    for where, row in rows_of(STAGE, data):
        prompt = _messages(where, row, "prompt", "user")
        pair = _pair(
            chat, prompt, _messages(where, row, "chosen", "assistant"),
            _messages(where, row, "rejected", "assistant"), context_tokens,
        )  # fmt: skip
        if isinstance(pair, str):
            dropped[pair] += 1
        elif place_of(hash_json(prompt), config.seed, "prefer") < config.held_out_share:
            held_out.append(pair)
        else:
            train.append(pair)
    kept = len(train) + len(held_out)
    for name, side in (("for training", train), ("held out", held_out)):
        if not side:
            raise InputError(
                STAGE, f"{data} has {kept} usable pairs, none of them {name} (dropped: "
                f"{dict(dropped) or 'none'})",
                "give more pairs, or another held_out_share",
            )  # fmt: skip
    ledger = Ledger("pairs", kept + dropped.total(), kept, dict(sorted(dropped.items())))
    return train, held_out, ledger.check(STAGE)


def margin_nats(policy: Any, pair: Pair) -> float:
    """How much likelier the chosen answer is than the rejected one."""
    chosen, rejected = (_log_likelihood_nats(policy, answer) for answer in pair.tokens)
    return chosen - rejected


def _log_likelihood_nats(policy: Any, answer: Answer) -> float:
    import torch

    ids_T = torch.tensor(answer.ids, device=policy.device)
    with torch.no_grad():
        logits_TV = policy(ids_T[None, :-1]).logits[0].float()
    nats_T = torch.nn.functional.cross_entropy(logits_TV, ids_T[1:], reduction="none")
    return -float(nats_T[answer.prompt_tokens - 1 :].sum())


def _messages(where: str, row: dict[str, Any], name: str, role: str) -> list[dict[str, str]]:
    value = row.get(name)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list) and value:
        try:
            found = [{"role": m["role"], "content": m["content"]} for m in value]
        except (TypeError, KeyError):
            found = [{"role": "", "content": ""}]
        if all(isinstance(m["content"], str) for m in found) and found[-1]["role"] == role:
            return found
    raise InputError(STAGE, f"{where} has {', '.join(row)} and the {name} {value!r:.60}", _CURE)


def _pair(
    chat: Chat, prompt: list[dict[str, str]], chosen: list[dict[str, str]],
    rejected: list[dict[str, str]], context_tokens: int,
) -> Pair | str:  # fmt: skip
    """The pair, or the reason to drop it."""
    if chosen == rejected:
        return "alike"
    tokens = []
    for answer in (chosen, rejected):
        example = chat.answers([[*prompt, *answer]])[-1]
        if not isinstance(example, Answer):
            return example.reason
        if len(example.ids) > context_tokens:
            return "prompt_too_long" if example.prompt_tokens >= context_tokens else "too_long"
        tokens.append(example)
    return Pair(prompt, chosen, rejected, (tokens[0], tokens[1]))


def _trainer(
    policy: Any, model: Path, chat: Chat, pairs: list[Pair], scratch: Path, config: PreferConfig,
    lora: LoraConfig | None,
) -> Any:  # fmt: skip
    import datasets
    import torch
    from transformers import PrinterCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    datasets.disable_progress_bars()
    has_gpu = torch.cuda.is_available()
    steps = -(-len(pairs) // config.pairs_per_step) * config.epochs
    arguments = DPOConfig(
        output_dir=str(scratch / "trainer"),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        warmup_steps=round(config.warmup_share * steps),
        per_device_train_batch_size=config.pairs_per_step,
        beta=config.beta,
        max_length=None,  # what does not fit has been dropped, and is counted
        seed=config.seed,
        use_cpu=not has_gpu,
        bf16=has_gpu,
        disable_dropout=lora is None,  # else lora.dropout would do nothing
        activation_checkpointing=False,
        dataloader_pin_memory=has_gpu,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
    )
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    trainer = DPOTrainer(
        policy,
        ref_model=None if lora else open_llama(model),  # an adapter is simply turned off
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=chat.tokenizer,
        peft_config=peft_config(lora) if lora else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _save(policy: Any, model: Path, base_name: str, folder: Path) -> None:
    from downstream.weight_files import write_like

    is_adapted = hasattr(policy, "peft_config")
    state = (
        save_adapter(policy, base_name, folder / "adapter") if is_adapted else policy.state_dict()
    )
    write_like(model, folder, state)


def _write_metrics(history: list[dict[str, Any]], path: Path) -> None:
    """Of trl's log what a step taught, without its times."""
    kept = ("loss", "learning_rate", "rewards/margins", "rewards/accuracies")
    rows = [{"step": h["step"], **{n: h[n] for n in kept}} for h in history if "loss" in h]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
