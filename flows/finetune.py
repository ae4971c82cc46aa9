"""`primer finetune` and `primer prefer`: tune a model on chats, or on pairs of answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from downstream.lora import LoraConfig

_LORA = "lora."


def finetune_model(
    model: Path, data: Path, out: Path, with_lora: bool, changes: Sequence[str]
) -> None:
    """Tune on chats, and print what became of them and of the held-out loss."""
    from downstream.derived import parse_settings
    from downstream.finetune import STAGE, FinetuneConfig, finetune

    lora, others = _split(STAGE, with_lora, changes)
    config = parse_settings(STAGE, FinetuneConfig, others)
    result = finetune(model, data, out, config, lora)
    answers, held_out = result["answers"], result["held_out_loss_nats"]
    click.echo(_tell_kept(answers))
    click.echo(
        f"{result['steps']:,} steps over {result['learnt_tokens']:,} tokens of answers, "
        f"{result['trained_parameters']:,} weights moved"
    )
    click.echo(f"held-out loss {held_out['before']:.4f} -> {held_out['after']:.4f} nats a token")
    click.echo(f"{out}: a Hugging Face directory with its lineage.json")


def prefer_answers(
    model: Path, data: Path, out: Path, with_lora: bool, changes: Sequence[str]
) -> None:
    """Tune on pairs, and print how the held-out ones are told apart, before and after."""
    from downstream.derived import parse_settings
    from downstream.prefer import STAGE, PreferConfig, prefer

    lora, others = _split(STAGE, with_lora, changes)
    config = parse_settings(STAGE, PreferConfig, others)
    result = prefer(model, data, out, config, lora)
    margin, likelier = result["margin_nats"], result["chosen_likelier_share"]
    click.echo(_tell_kept(result["pairs"]))
    click.echo(
        f"held-out margin {margin['before']:.3f} -> {margin['after']:.3f} nats; the chosen answer "
        f"is likelier in {likelier['before']:.0%} -> {likelier['after']:.0%} of "
        f"{result['held_out']:,} pairs; reward accuracy {result['reward_accuracy']:.0%}"
    )
    click.echo(f"{out}: a Hugging Face directory with its lineage.json")


def _split(
    stage: str, with_lora: bool, changes: Sequence[str]
) -> tuple[LoraConfig | None, list[str]]:
    """The adapter's settings where one is asked for, and the other changes."""
    from downstream.derived import parse_settings
    from downstream.lora import LoraConfig
    from pipeline.errors import InputError

    of_lora = [c.strip().removeprefix(_LORA) for c in changes if c.strip().startswith(_LORA)]
    others = [change for change in changes if not change.strip().startswith(_LORA)]
    if of_lora and not with_lora:
        raise InputError(stage, f"--set {_LORA}{of_lora[0]} without --lora", "add --lora")
    return (parse_settings(stage, LoraConfig, of_lora) if with_lora else None), others


def _tell_kept(ledger: dict[str, Any]) -> str:
    dropped = "".join(f", {count:,} {reason}" for reason, count in ledger["dropped"].items())
    return f"{ledger['kept']:,} of {ledger['rows_in']:,} {ledger['unit']} used{dropped}"
