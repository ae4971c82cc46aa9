"""`primer compare MODEL MODEL...`: which model answers better, as a recipe's teacher judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.recipe import Recipe
from flows.show import open_console
from pipeline.errors import InputError
from pipeline.progress import progress_bar
from pipeline.stage import Workplace


def compare_models(
    models: Sequence[Path], prompts: Path, recipe: Recipe, out: Path, answer_tokens: int,
    threads: int,
) -> None:  # fmt: skip
    """Answer the prompts with every model, have each pair judged in both orders, and rate them.

    `out` keeps the answers, what was paid for, and `ratings.json`; the same command goes on there.
    """
    from downstream.judge import rank_models
    from pipeline.open_teacher import open_teacher

    names = _names(models)
    asked = _read_prompts(prompts)
    out.mkdir(parents=True, exist_ok=True)
    answers = _answers(names, asked, out, answer_tokens, threads)
    place = Workplace("compare", out, out, recipe.seed, {}, {})
    with open_teacher(place, recipe.teacher) as teacher:
        told = rank_models(asked, answers, teacher, seed=recipe.seed)
    told = {"judge": recipe.teacher.name, "prompts": len(asked), **told}
    (out / "ratings.json").write_text(json.dumps(told, indent=1) + "\n")
    _print(open_console(), told, out)


def _names(models: Sequence[Path]) -> dict[str, Path]:
    """A short name for each: the last part of its path, or as many as tell them apart."""
    for model in models:
        if not model.exists():
            raise InputError("compare", f"there is no model {model}", "give directories or GGUFs")
    if len(models) < 2 or len({model.resolve() for model in models}) < len(models):
        raise InputError("compare", f"{len(models)} models, or one twice", "name at least two")
    parts = 1
    while len({model.parts[-parts:] for model in models}) < len(models):
        parts += 1
    return {"/".join(model.parts[-parts:]): model for model in models}


def _read_prompts(path: Path) -> list[str]:
    """JSON lines with `prompt`."""
    found = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("compare", f"{path} cannot be read ({error})", "give JSONL") from error
    for i, line in enumerate(lines, 1):
        try:
            prompt = json.loads(line)["prompt"]
        except (ValueError, KeyError, TypeError):
            prompt = None
        if not isinstance(prompt, str) or not prompt:
            raise InputError(
                "compare", f"line {i} of {path} is {line[:60]!r}", 'write {"prompt": "..."}'
            )
        found.append(prompt)
    if not found:
        raise InputError("compare", f"{path} holds no prompt", 'write {"prompt": "..."} a line')
    return found


def _answers(
    names: dict[str, Path], prompts: list[str], out: Path, answer_tokens: int, threads: int
) -> dict[str, list[str]]:
    from downstream.harness_model import answer_prompts

    answers = {}
    with progress_bar("compare: answering", len(names)) as advance:
        for name, model in names.items():
            answers[name] = answer_prompts(model, prompts, answer_tokens, threads)
            advance(1, note=name)
    rows = [
        {"prompt": prompt, **{name: answers[name][i] for name in names}}
        for i, prompt in enumerate(prompts)
    ]
    (out / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return answers


def _print(console: Console, told: dict[str, Any], out: Path) -> None:
    table = Table(title=f"Elo by {told['judge']}", title_justify="left", box=None, pad_edge=False)
    for name in ("model", "rating", "low", "high", "games", "won", "lost"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in told["ratings"]:
        figures = [f"{row[name]:,.0f}" for name in ("rating", "low", "high")]
        table.add_row(row["model"], *figures, *(str(row[n]) for n in ("games", "won", "lost")))
    console.print(table)
    judging = told["judging"]
    console.print(
        f"{judging['pairs']} pairs: {judging['equal_answers']} with equal answers, "
        f"{judging['orders_disagree']} where the orders disagreed, "
        f"{judging['unscored_pairs']} not scored; {out / 'ratings.json'}"
    )
