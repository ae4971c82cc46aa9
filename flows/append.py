"""`primer append RUN`: the next version of a dataset, of the source files that are new to it.

Nothing new makes nothing. A version that was begun and is not whole (killed, stopped by a cap, or
made up to an earlier stage) is finished before another is begun; files that have arrived meanwhile
go into it. Labels, filter, tokenizer and validation set are the parent's, so what decides these may
not change from version to version: who wants that runs the recipe as a dataset of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from flows.journey import NAMES, plan_journey
from flows.recipe import Recipe, load_recipe
from pipeline.errors import InputError, StageError
from pipeline.increment import is_inherited
from pipeline.ingest import find_new_files
from pipeline.manifest import Manifest
from pipeline.sources_plan import Listed
from pipeline.verify import sealed_stages, verify_run
from pipeline.versions import RECIPE, base_name, newest_version, next_version, parent_of

log = logging.getLogger("primer")

_UNTIL = "handoff"
_CONTINUED = NAMES[: NAMES.index("tokenize") + 1]  # stages of a parent that a version rests on
_OF_TOKENIZER = ("tokenizer", "end_of_text", "vocabulary", "max_train_bytes")
_SHOWN_FILES = 50


def plan_version(run: Path, changes: Sequence[str] = ()) -> tuple[Recipe, Path] | None:
    """The recipe and directory of the version to make or to finish; None where nothing is new.

    `run` is any version of the dataset. Raises InputError where the newest is not whole enough to
    grow from, or does not verify, or where `changes` ask for what a version takes over.
    """
    newest = newest_version(run.parent, base_name(run))
    if newest is None:
        raise InputError("append", f"{run} has no {RECIPE}", "name a run that a recipe has made")
    begun = parent_of(newest)
    if begun is not None and not _is_whole(newest):
        parent, directory = begun, newest
    else:
        parent, directory = newest, next_version(newest)
        _check_sealed(parent)
    recipe = _grow(load_recipe(newest / RECIPE, changes), parent, directory.name)
    _check_taken_over(load_recipe(parent / RECIPE), recipe)
    if find_new_files(recipe).files == 0:
        return None
    _check_parent(parent)
    return recipe, directory


def append_version(
    run: Path, changes: Sequence[str] = (), until: str = _UNTIL, dry_run: bool = False
) -> Path | None:
    """Make or finish the next version; its directory, or None where nothing is new."""
    from flows.run import run_journey
    from flows.show import open_console, print_run

    planned = plan_version(run, changes)
    if planned is None:
        log.info("%s: no new files, nothing to do", base_name(run))
        return None
    recipe, directory = planned
    if dry_run:
        _print_plan(recipe, directory, until)
        return directory
    run_journey(recipe, directory, until=until)
    print_run(open_console(), directory)
    return directory


def _grow(recipe: Recipe, parent: Path, name: str) -> Recipe:
    increment = {**recipe.increment.model_dump(), "parent": parent}
    return Recipe.model_validate({**recipe.model_dump(), "name": name, "increment": increment})


def _is_whole(run: Path) -> bool:
    """Whether all up to the handoff is sealed, and nothing of it has been overtaken."""
    try:
        stages = sealed_stages(run)
    except StageError:
        return False
    wanted = NAMES[: NAMES.index(_UNTIL) + 1]
    return all(name in stages and _fits(stages[name][1], stages) for name in wanted)


def _fits(manifest: Manifest, stages: dict[str, tuple[Path, Manifest]]) -> bool:
    return all(
        name in stages and stages[name][1].fingerprint == fingerprint
        for name, fingerprint in manifest.needs.items()
    )


def _check_sealed(parent: Path) -> None:
    stages = sealed_stages(parent)
    for name in _CONTINUED:
        if name not in stages or not _fits(stages[name][1], stages):
            raise InputError(
                "append", f"{parent} is not sealed up to {_CONTINUED[-1]}: {name} is missing or "
                "was made from something else", f"run its recipe first: {parent / RECIPE}",
            )  # fmt: skip


def _check_parent(parent: Path) -> None:
    """InputError with the first fault where the parent does not verify."""
    faults = verify_run(parent, _CONTINUED)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(
            "append", f"the parent {parent} does not verify: {faults[0]}{more}",
            "make it whole first: delete that stage's directory and run its recipe",
        )  # fmt: skip


def _check_taken_over(parent: Recipe, recipe: Recipe) -> None:
    """InputError where the recipe asks for another label, filter, tokenizer or split."""
    stages = {"label": "label", "train-filter": "train_filter", "synthesize": "synthesize"}
    sections = [
        section for stage, section in stages.items() if is_inherited(stage, recipe.increment)
    ]
    told = {"seed": (parent.seed, recipe.seed)}
    for name in (*sections, "validation", "decontaminate"):
        told[name] = getattr(parent, name).what(), getattr(recipe, name).what()
    for name in _OF_TOKENIZER:
        told[f"tokenize.{name}"] = (
            getattr(parent.tokenize, name), getattr(recipe.tokenize, name)
        )  # fmt: skip
    for name, (before, now) in told.items():
        if before != now:
            raise InputError(
                "append", f"{name} differs from the parent's, and a version takes that over",
                f"leave {name} as it is, or run the recipe as a dataset of its own",
            )  # fmt: skip


def _print_plan(recipe: Recipe, directory: Path, until: str) -> None:
    """The new shards, the stages, and what the teacher would still be asked."""
    from flows.estimate import estimate_teacher
    from flows.show import open_console, print_plan, print_sources

    console, news = open_console(), find_new_files(recipe)
    console.print(f"version {directory.name}, grown from {recipe.increment.parent}")
    print_sources(console, [listed for listed in news.new if listed.files])
    names = _names(news.new)
    for name in names[:_SHOWN_FILES]:
        console.print(f"new: {name}", markup=False, highlight=False)
    if len(names) > _SHOWN_FILES:
        console.print(f"new: and {len(names) - _SHOWN_FILES} more")
    plan = plan_journey(recipe, directory, until=until)
    print_plan(console, recipe, plan, estimate_teacher(recipe, plan))


def _names(new: Sequence[Listed]) -> list[str]:
    return [f"{listed.source.name}/{file.name}" for listed in new for file in listed.files]
