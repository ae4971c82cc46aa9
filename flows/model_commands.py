"""The commands about models: train, fine-tune, merge, export, evaluate, compare.

They work on directories and files, without a recipe: what the journey does at its end, for anyone's
model. Like those of `flows.main`, each imports what costs time when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

PATH = click.Path(path_type=Path)
CHANGES = click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE")


@click.command()
@click.argument("handoff", type=PATH)
@click.option("--arm", required=True, help="One of the handoff's arms.")
@click.option("--preset", help="Size of the model, such as 30M; without it, the recipe's own.")
@click.option("--out", required=True, type=PATH, metavar="DIR")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@CHANGES
def train(
    handoff: Path, arm: str, preset: str | None, out: Path, seed: int, changes: tuple[str, ...]
) -> None:
    """Train a model from HANDOFF alone, resumably; on several GPUs: torchrun, docs/training.md."""
    from flows.show import open_console
    from flows.train import train_from_handoff

    train_from_handoff(open_console(), handoff, arm, out, preset, changes, seed)


def _tunes(command: Callable[..., None]) -> Callable[..., None]:
    """What both ways of tuning are given."""
    for given in (
        CHANGES,
        click.option("--lora", is_flag=True, help="Train a low-rank adapter, and multiply it in."),
        click.option("--out", required=True, type=PATH, metavar="DIR"),
        click.option("--data", required=True, type=PATH, metavar="FILE"),
        click.argument("model", type=PATH),
    ):
        command = given(command)
    return command


@click.command()
@_tunes
def finetune(model: Path, data: Path, out: Path, lora: bool, changes: tuple[str, ...]) -> None:
    """Tune MODEL on chats: a handoff.json, or JSON lines or Parquet with `messages`."""
    from flows.finetune import finetune_model

    finetune_model(model, data, out, lora, changes)


@click.command()
@_tunes
def prefer(model: Path, data: Path, out: Path, lora: bool, changes: tuple[str, ...]) -> None:
    """Tune MODEL on pairs of answers (DPO): JSON lines or Parquet of prompt, chosen, rejected."""
    from flows.finetune import prefer_answers

    prefer_answers(model, data, out, lora, changes)


@click.command()
@click.argument("models", nargs=-1, required=True, type=PATH)
@click.option("--base", type=PATH, metavar="DIR", help="For TIES and DARE.")
@click.option("--out", required=True, type=PATH, metavar="DIR")
@CHANGES
def merge(models: tuple[Path, ...], base: Path | None, out: Path, changes: tuple[str, ...]) -> None:
    """Merge MODELS of one shape into one: --set method=linear, slerp, ties or dare."""
    from flows.merge import merge_models

    merge_models(models, base, out, changes)


@click.command()
@click.argument("handoff", type=PATH)
@click.option("--to", required=True, type=click.Choice(["nanotron", "litgpt", "transformers"]))
@click.option("--out", required=True, type=PATH, metavar="DIR")
@click.option("--arm", default="kept+synthetic", show_default=True)
@click.option("--preset", help="Size of the model; without it, the handoff's suggestion.")
@click.option("--context-tokens", type=click.IntRange(16), default=2048, show_default=True)
def export(
    handoff: Path, to: str, out: Path, arm: str, preset: str | None, context_tokens: int
) -> None:
    """Write a ready-to-run configuration of another trainer for HANDOFF, and print its command."""
    from downstream.handoff_export import export_handoff

    click.echo(" ".join(export_handoff(handoff, to, out, arm, preset, context_tokens)))


@click.command()
@click.argument("model", type=PATH)
@click.option("--text", "texts", multiple=True, type=PATH, help="UTF-8 files to measure on.")
@click.option("--types", metavar="A,B", help="Quantized types, of a directory.")
@click.option("--out", type=PATH, metavar="DIR", help="[NAME-evaluation]")
@click.option("--device-profile", "profile", metavar="NAME", help="One device instead of all.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
def evaluate(
    model: Path, texts: tuple[Path, ...], types: str | None, out: Path | None,
    profile: str | None, threads: int, repetitions: int,
) -> None:  # fmt: skip
    """Measure MODEL (a Llama-style Hugging Face directory or a GGUF) as a device would run it."""
    from flows.evaluate import evaluate_model

    chosen = types.split(",") if types else None
    evaluate_model(model, texts, chosen, out, profile, threads, repetitions)


@click.command()
@click.argument("models", nargs=-1, required=True, type=PATH)
@click.option("--prompts", required=True, type=PATH, metavar="FILE", help="JSON lines: `prompt`.")
@click.option("--recipe", required=True, type=PATH, help="Its teacher judges.")
@click.option("--out", required=True, type=PATH, metavar="DIR")
@click.option("--answer-tokens", type=click.IntRange(1), default=200, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--set", "changes", multiple=True, metavar="SECTION.FIELD=VALUE")
def compare(
    models: tuple[Path, ...], prompts: Path, recipe: Path, out: Path, answer_tokens: int,
    threads: int, changes: tuple[str, ...],
) -> None:  # fmt: skip
    """Rate MODELS (Elo) by their answers to prompts: every pair judged in both orders."""
    from flows.compare import compare_models
    from flows.recipe import load_recipe

    loaded = load_recipe(recipe, changes)
    compare_models(models, prompts, loaded, out, answer_tokens, threads)


COMMANDS = (train, finetune, prefer, merge, export, evaluate, compare)
