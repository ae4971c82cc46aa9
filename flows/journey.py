"""The journey: thirteen stages in their order, and the plan that a recipe makes of them."""

from __future__ import annotations

from pathlib import Path

from downstream import evaluate, quantize, train
from flows.recipe import Recipe
from pipeline import (
    apply_filter,
    card,
    clean,
    decontaminate,
    handoff,
    ingest,
    label,
    synthesize,
    tokenize,
    train_filter,
)
from pipeline.errors import InputError
from pipeline.stage import Stage
from pipeline.step import Step, make_plan

STAGES: tuple[Stage, ...] = (
    ingest.STAGE,
    clean.STAGE,
    label.STAGE,
    train_filter.STAGE,
    apply_filter.STAGE,
    synthesize.STAGE,
    decontaminate.STAGE,
    tokenize.STAGE,
    card.STAGE,
    handoff.STAGE,
    train.STAGE,
    quantize.STAGE,
    evaluate.STAGE,
)
NAMES = tuple(stage.name for stage in STAGES)


def plan_journey(
    recipe: Recipe, run: Path, start: str | None = None, until: str | None = None
) -> dict[str, Step]:
    """The steps up to and including `until`.

    With `start`, what stands before it is taken as it was sealed, whatever the recipe and the
    sources say now; InputError when some of it is not sealed.
    """
    for option, name in (("--from", start), ("--until", until)):
        if name is not None and name not in NAMES:
            raise InputError("journey", f"{option} {name!r}", f"choose from {', '.join(NAMES)}")
    last = NAMES.index(until) if until else len(NAMES) - 1
    first = NAMES.index(start) if start else 0
    if first > last:
        raise InputError("journey", f"--from {start} is after --until {until}", "swap them")
    return make_plan(STAGES[: last + 1], recipe, run, taken_as_sealed=NAMES[:first])
