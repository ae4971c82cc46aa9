"""The handoff's suggestion in a trainer's terms: shape, steps, batch and rates of one arm.

Rates are AdamW's of GPT-3 (arXiv 2005.14165, table 2.1) for the sizes that it has, and 1e-3 below.
A step has so many tokens that a run has about two thousand steps, between 8 windows and half a
million tokens.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downstream.shape import PRESETS, Shape, shape_of
from pipeline.errors import InputError
from pipeline.handoff_record import Arm, Handoff, open_handoff

PEAK_RATES = {"125M": 6e-4, "350M": 3e-4, "1B": 2e-4}
SMALL_RATE = 1e-3
STEPS_AIMED_AT = 2_000
MOST_TOKENS_A_STEP = 524_288
WINDOWS_AT_ONCE = 8  # on one device; the rest is accumulated
SEED = 1


@dataclass(frozen=True)
class TrainingPlan:
    """One arm to train, by whatever trainer."""

    handoff: Handoff
    root: Path  # paths of the handoff are relative to it
    arm: Arm
    preset: str
    shape: Shape
    end_of_text_token: str
    windows_a_step: int  # of shape.context_tokens
    base_steps: int
    anneal_steps: int
    peak_rate: float

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.base_steps + self.anneal_steps

    @property
    def warmup_steps(self) -> int:
        """A fiftieth of the steps."""
        return max(1, self.steps // 50)

    @property
    def windows_at_once(self) -> int:
        """Windows of one pass through the model."""
        return min(WINDOWS_AT_ONCE, self.windows_a_step)

    @property
    def accumulated(self) -> int:
        """Passes of a step on one device."""
        return self.windows_a_step // self.windows_at_once


def make_plan(
    handoff_path: Path, arm: str, preset: str | None = None, context_tokens: int = 2_048
) -> TrainingPlan:
    """The plan for an arm of a verified handoff; the preset is the suggested one by default."""
    handoff = open_handoff(handoff_path)
    chosen = {one.name: one for one in handoff.arms}.get(arm)
    if chosen is None:
        raise InputError(
            "export", f"the handoff has no arm {arm!r}",
            f"name one of {', '.join(one.name for one in handoff.arms)}",
        )  # fmt: skip
    base = sum(shard.tokens for shard in chosen.base)
    anneal = sum(shard.tokens for shard in chosen.anneal)
    windows = 8
    while (base + anneal) / (2 * windows * context_tokens) >= STEPS_AIMED_AT and (
        2 * windows * context_tokens <= MOST_TOKENS_A_STEP
    ):
        windows *= 2
    size = preset or handoff.suggestion.preset
    if size not in PRESETS:
        raise InputError(
            "export", f"there is no preset {size!r}", f"name one of {', '.join(PRESETS)}"
        )
    root = handoff_path.resolve().parent
    return TrainingPlan(
        handoff, root, chosen, size, shape_of(size, handoff.vocabulary, context_tokens),
        _token(root / handoff.tokenizer.path, handoff.end_of_text), windows,
        max(1, base // (windows * context_tokens)), max(1, anneal // (windows * context_tokens)),
        PEAK_RATES.get(size, SMALL_RATE),
    )  # fmt: skip


def lay_out(plan: TrainingPlan, out: Path) -> None:
    """Link the shards as out/base and out/anneal, and write out/tokenizer."""
    for stage, shards in (("base", plan.arm.base), ("anneal", plan.arm.anneal)):
        (out / stage).mkdir(parents=True, exist_ok=True)
        for old in (out / stage).glob("*.ds*"):  # of an earlier export: all that lies here is read
            old.unlink()
        for i, shard in enumerate(shards):
            for ending, file in (("", shard), (".index", shard.index)):
                place = out / stage / f"{i:05}.ds{ending}"
                place.symlink_to(os.path.abspath(plan.root / file.path))
    folder = out / "tokenizer"
    folder.mkdir(exist_ok=True)
    source = plan.root / plan.handoff.tokenizer.path
    (folder / "tokenizer.json").write_bytes(source.read_bytes())
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": plan.end_of_text_token,
        "model_max_length": plan.shape.context_tokens,
    })  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Indented, with a line's end."""
    path.write_text(json.dumps(value, indent=1) + "\n")


def _token(tokenizer: Path, number: int) -> str:
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(tokenizer)).id_to_token(number)
    assert found is not None
    return str(found)
