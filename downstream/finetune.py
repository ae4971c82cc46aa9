"""Supervised fine-tuning: a pretrained model learns to answer (phi-1's second step).

phi-1 (arXiv 2306.11644) gained most of its coding ability where a model of textbooks was tuned on
exercises. Here a model directory is tuned on the chats of a handoff, or of one's own: loss on the
answers' tokens alone, whole examples side by side in a row with attention masked between them,
AdamW with warm-up and linear decay. Held-out chats are measured before and after. All weights move,
through our own model; or with LoRA a few new ones, through transformers and peft.

A killed run goes on from its checkpoint and ends with the same bytes: what a step reads depends on
its number alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from downstream.derived import Derived, begin, describe_model, read_config, read_result
from downstream.lora import LoraConfig
from pipeline.config import HOW, Section
from pipeline.errors import InputError
from pipeline.ledger import Ledger
from pipeline.manifest import hash_json
from pipeline.progress import progress_bar

if TYPE_CHECKING:
    from downstream.answer_rows import Rows
    from downstream.chat import Answer, Chat, Messages

STAGE = "finetune"


class FinetuneConfig(Section):
    """How a model is tuned on chats."""

    epochs: int = Field(2, ge=1, le=100, description="Times that every chat is read.")
    learning_rate: float = Field(
        1e-4, gt=0, le=1, description="Peak rate of AdamW; phi-1's. Ten times it with LoRA."
    )
    weight_decay: float = Field(0.01, ge=0, le=1, description="Of AdamW; phi-1's.")
    warmup_share: float = Field(0.03, ge=0, lt=1, description="Share of the steps that warm up.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of a step's gradient.")
    sequence_tokens: int | None = Field(
        None, ge=16, le=131_072, description="Tokens of a row; null for the model's context."
    )
    sequences_per_step: int = Field(8, ge=1, le=65_536, description="Rows of a step.")
    sequences_at_once: int = Field(
        8, ge=1, le=65_536, description="Rows in memory at once; a step adds up several passes."
    )
    held_out_share: float = Field(
        0.05, gt=0, lt=1, description="Share held out; a handoff brings a split of its own."
    )
    seed: int = Field(0, ge=0, description="Of the split, the order and the adapter.")
    threads: int = Field(
        2, ge=1, le=256, description="Threads of arithmetic: the order of sums depends on them."
    )
    checkpoint_steps: int = Field(
        100, ge=1, description="Steps between checkpoints.", json_schema_extra=HOW
    )


@dataclass(frozen=True)
class Examples:
    """Both sides of the split, laid into rows, and what became of every answer."""

    train: Rows
    held_out: Rows
    ledger: Ledger


def finetune(
    model: Path, data: Path, out: Path, config: FinetuneConfig, lora: LoraConfig | None = None
) -> dict[str, Any]:
    """Tune a model on chats into the directory `out`; what came out, as in its lineage."""
    from downstream.chat import Chat
    from downstream.conversations import read_conversations

    described = describe_model(STAGE, model)
    found = read_conversations(STAGE, data, config.held_out_share, config.seed)
    record = {
        "finetuned_from": described,
        "data": found.source,
        "settings": {**config.what(), "lora": lora and lora.what()},
    }
    derived = begin(STAGE, out, record)
    if derived is None:
        return read_result(out)
    chat = Chat(STAGE, model)
    examples = _lay(chat, model, found.train, found.held_out, config)
    result = _tune(derived, model, described["name"], examples, config, lora)
    if not chat.has_own_template:
        from downstream.chat import write_template

        write_template(derived.folder)
    derived.seal(result)
    return result


def _lay(
    chat: Chat, model: Path, train: Sequence[Messages], held_out: Sequence[Messages],
    config: FinetuneConfig,
) -> Examples:  # fmt: skip
    from downstream.answer_rows import find_separator, lay_rows

    shape = read_config(STAGE, model)
    tokens = config.sequence_tokens or int(shape["max_position_embeddings"])
    dropped: Counter[str] = Counter()
    sides = [_usable(chat, chats, tokens, dropped) for chats in (train, held_out)]
    kept = sum(map(len, sides))
    for name, side in zip(("for training", "held out"), sides, strict=True):
        if not side:
            raise InputError(
                STAGE, f"of {kept + dropped.total()} answers {kept} are usable, none of them "
                f"{name} (dropped: {dict(dropped)})",
                "give shorter or more chats, or a model of a longer context",
            )  # fmt: skip
    ends = shape.get("eos_token_id", [])
    ends = ends if isinstance(ends, list) else [ends]
    candidates = [token for token in ends if token is not None] + chat.tokenizer.all_special_ids
    separator = find_separator([*sides[0], *sides[1]], candidates)
    if separator is None:
        raise InputError(
            STAGE, f"every special token of {model} stands within a chat",
            "remove chats that hold the text of a special token, or take another chat template",
        )  # fmt: skip
    rows = [lay_rows(side, tokens, separator, config.seed) for side in sides]
    ledger = Ledger("answers", kept + dropped.total(), kept, dict(sorted(dropped.items())))
    return Examples(rows[0], rows[1], ledger.check(STAGE))


def _usable(
    chat: Chat, chats: Sequence[Messages], tokens: int, dropped: Counter[str]
) -> list[Answer]:
    """The examples that fit into a row; the others are counted by reason."""
    from downstream.chat import Unusable

    kept = []
    for example in chat.answers(chats):
        if isinstance(example, Unusable):
            dropped[example.reason] += 1
        elif example.prompt_tokens >= tokens:
            dropped["prompt_too_long"] += 1
        elif len(example.ids) > tokens:
            dropped["too_long"] += 1
        else:
            kept.append(example)
    return kept


def _tune(
    derived: Derived, model: Path, name: str, examples: Examples, config: FinetuneConfig,
    lora: LoraConfig | None,
) -> dict[str, Any]:  # fmt: skip
    """Train, measure and write the model's files."""
    import torch

    from downstream.tune import Tuning
    from downstream.tuned_model import open_tuned

    torch.set_num_threads(config.threads)
    tuned = open_tuned(model, lora, config.seed)
    tuning = Tuning(tuned, examples.train, config, derived.scratch / "checkpoint.pt")
    before = tuning.measure(examples.held_out)
    tuning.resume(hash_json(derived.record))
    with progress_bar(STAGE, tuning.steps) as advance:
        losses_nats = tuning.run(advance)
    tuned.write(model, name, derived.folder)
    with (derived.folder / "metrics.jsonl").open("w") as file:
        for step, loss_nats in enumerate(losses_nats):
            file.write(json.dumps({"step": step, "loss_nats": loss_nats}) + "\n")
    return {
        "answers": asdict(examples.ledger),
        "rows": len(examples.train),
        "learnt_tokens": examples.train.learnt_tokens,
        "steps": tuning.steps,
        "trained_parameters": sum(p.numel() for p in tuning.parameters),
        "held_out_loss_nats": {"before": before, "after": tuning.measure(examples.held_out)},
    }
