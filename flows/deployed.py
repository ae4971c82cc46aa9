"""The flows that a scheduler, an event, a person or another flow starts: parts of the journey.

Each takes the whole recipe, so Prefect's page shows a form of it, with every field's meaning and
range, and refuses what does not fit before a run begins. What is sealed is skipped, so a flow that
asks for more than is there makes what is missing. One run works on a dataset at a time: others
wait for its directory.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State, StateType
from pydantic import Field

from flows.asked import note_asked
from flows.journey import plan_journey
from flows.recipe import Recipe, load_recipe
from flows.run import only_run, seal_stages, write_recipe
from flows.schedule import FlowSchedule
from flows.shown import show_ledger, show_progress
from pipeline.environment import runs_directory
from pipeline.errors import InputError, StoppedError
from pipeline.handoff import STAGE as HANDOFF
from pipeline.logs import set_up_logging
from pipeline.manifest import read_manifest

log = logging.getLogger("primer")
set_up_logging()  # as the command does; every run is a process of its own, which begins here

_APPEND: Any = Field(
    False, description="Read new shards only, and make the dataset's next version of them."
)
_RUN: Any = Field(
    None, description="A run's name; without it, the dataset's newest version is taken."
)
_LATER = ("train", "quantize", "evaluate", "training", "schedule")  # than the dataset


def _name_run() -> str:
    """`smoke: curate`, and when it was due, so that no two runs are called the same."""
    due = runtime.flow_run.scheduled_start_time
    recipe = runtime.flow_run.parameters["recipe"]
    name = recipe.name if isinstance(recipe, Recipe) else recipe["name"]
    return f"{name}: {runtime.flow_run.flow_name}, {due:%Y-%m-%d %H:%M:%S}"


@flow(flow_run_name=_name_run)
def curate(recipe: Recipe, append: bool = _APPEND) -> State[Any] | None:
    """Carry the sources to a handoff that a trainer can read: stages 1 to 10."""
    return _seal_dataset(recipe, "handoff", append, recipe.schedule.curate)


@flow(flow_run_name=_name_run)
def label(recipe: Recipe, append: bool = _APPEND) -> State[Any] | None:
    """Read, clean and label: stages 1 to 3."""
    return _seal_dataset(recipe, "label", append, recipe.schedule.label)


@flow(flow_run_name=_name_run)
def synthesize(recipe: Recipe, append: bool = _APPEND) -> State[Any] | None:
    """Filter the sources and write textbooks and exercises from them: stages 1 to 6."""
    return _seal_dataset(recipe, "synthesize", append, recipe.schedule.synthesize)


@flow(flow_run_name=_name_run)
def handoff(recipe: Recipe, run: str | None = _RUN) -> State[Any] | None:
    """Verify the dataset, publish its preview, wait for approval, start the training."""
    from flows.approval import hand_over_flow_body

    found, directory = find_version(recipe, run)
    return hand_over_flow_body(found, directory)


@flow(flow_run_name=_name_run)
def train(recipe: Recipe, run: str | None = _RUN) -> State[Any] | None:
    """Train one model for each arm of a dataset that was handed over: stage 11."""
    from flows.report_back import reporting

    found, directory = find_version(recipe, run)
    with reporting(directory):
        return _seal(found, directory, "train", "train", recipe.schedule.train)


@flow(flow_run_name=_name_run)
def evaluate(recipe: Recipe, run: str | None = _RUN) -> State[Any] | None:
    """Quantize the trained models and measure them as a device would: stages 12 and 13."""
    found, directory = find_version(recipe, run)
    return _seal(found, directory, "quantize", "evaluate", recipe.schedule.evaluate)


@flow(flow_run_name=_name_run)
def new_shards(recipe: Recipe) -> None:
    """Look where shards arrive, and say so in an event when new ones have."""
    from flows.new_shards import announce_new_shards

    announce_new_shards(recipe, runs_directory())


def _seal_dataset(
    recipe: Recipe, until: str, append: bool, patience: FlowSchedule
) -> State[Any] | None:
    if not append:
        return _seal(recipe, runs_directory() / recipe.name, None, until, patience)
    planned = plan_next_version(recipe, runs_directory())
    if planned is None:
        log.info("%s: no new shards, nothing to do", recipe.name)
        return None
    return _seal(*planned, None, until, patience)


def plan_next_version(recipe: Recipe, runs: Path) -> tuple[Recipe, Path] | None:
    """The version to make next, or to finish: its recipe and directory. None: nothing is new."""
    from flows.append import plan_version
    from pipeline.versions import newest_version

    newest = newest_version(runs, recipe.name)
    first = runs / recipe.name
    if newest is None or (newest == first and read_manifest(first / HANDOFF.directory) is None):
        return recipe, first
    return plan_version(newest)


def find_version(recipe: Recipe, run: str | None) -> tuple[Recipe, Path]:
    """A version of the recipe's dataset, with the sections that made it; those of later stages,
    and the schedule, are the recipe's.
    """
    from pipeline.versions import newest_version

    runs = runs_directory()
    directory = newest_version(runs, recipe.name) if run is None else runs / run
    outside = run is not None and Path(run).name != run
    if directory is None or outside or not (directory / "recipe.yaml").is_file():
        raise InputError(
            "deployment",
            f"there is no run {run or recipe.name!r} in {runs}",
            f"start the deployment curate/{recipe.name} first",
        )
    if directory.name == recipe.name:
        return recipe, directory
    made = load_recipe(directory / "recipe.yaml")
    return made.model_copy(update={name: getattr(recipe, name) for name in _LATER}), directory


def _seal(
    recipe: Recipe, run: Path, start: str | None, until: str, patience: FlowSchedule
) -> State[Any] | None:
    """Seal the stages between; a cap or a person that stopped it is no failure, and is shown."""
    run.mkdir(parents=True, exist_ok=True)
    with only_run(run, wait=True):
        plan = plan_journey(recipe, run, start, until)
        write_recipe(recipe, run)
        note_asked(run, start, until)
        try:
            seal_stages(plan, patience, show_progress(len(plan)))
        except StoppedError as stop:
            return State(type=StateType.CANCELLED, name="Stopped", message=str(stop))
        finally:
            show_ledger(plan)
    return None
