"""Run the journey as a Prefect flow: one task per stage, paths in, nothing out.

Prefect watches and shows; our manifests are the memory, so its result cache is off. Where no
Prefect server is configured a temporary one is started (about ten seconds) and stopped, also when
this process is killed. A run in which everything is sealed starts none.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.asked import note_asked
from flows.journey import plan_journey
from flows.patience import ONE_TRY, may_try_again
from flows.recipe import Recipe, dump_recipe
from flows.schedule import FlowSchedule
from flows.server import SILENT, persistent_server
from pipeline.errors import InputError, StageError
from pipeline.step import Step, run_step

log = logging.getLogger("primer")

# Defaults only: what a user has set stays.
_PREFECT = SILENT | {"PREFECT_LOGGING_LEVEL": "CRITICAL"}


def run_journey(
    recipe: Recipe, run: Path, start: str | None = None, until: str | None = None
) -> None:
    """Seal every stage up to `until`; what is sealed already is skipped.

    Raises StageError where a stage fails; its partial work stays for the next try.
    """
    run.mkdir(parents=True, exist_ok=True)
    with only_run(run):
        plan = plan_journey(recipe, run, start, until)
        if all(step.state == "sealed" for step in plan.values()):
            log.info("%s: all %d stages are sealed, nothing to do", run, len(plan))
            return
        write_recipe(recipe, run)
        note_asked(run, start, until)
        for name, value in _PREFECT.items():
            os.environ.setdefault(name, value)
        try:
            with _prefect_server():
                _flow(recipe.name, plan)
        except StageError:
            raise
        except Exception as error:
            (run / "error.txt").write_text(traceback.format_exc())
            raise StageError(
                "journey",
                f"an unforeseen {type(error).__name__} ({error})",
                f"{run / 'error.txt'} says where; nothing half-made was sealed",
            ) from error


def seal_stages(
    plan: Mapping[str, Step],
    patience: FlowSchedule = ONE_TRY,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Within a flow: one task for each stage; `advance` is called after each.

    A stage that fails passingly is tried again, in its task, and goes on where it stopped.
    """
    from flows.shown import show_card

    for step in plan.values():
        _seal(step, patience)
        advance()
        if step.stage.name == "card":
            show_card(step.path / "README.md")


def _seal(step: Step, patience: FlowSchedule) -> None:
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.task_engine import TaskRunTimeoutError
    from prefect.tasks import exponential_backoff

    @task(
        name=step.stage.name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=patience.retries,
        retry_delay_seconds=exponential_backoff(patience.backoff_s),
        retry_jitter_factor=0.2,
        retry_condition_fn=may_try_again,
        timeout_seconds=patience.time_limit_s,
    )
    def seal() -> None:
        run_step(step)

    try:
        seal()
    except TaskRunTimeoutError as error:
        raise StageError(
            step.stage.name,
            f"it took longer than {patience.time_limit_s:g} s, the time_limit_s of its schedule",
            "raise that; what it has done is kept, and the next run goes on from there",
        ) from error


def _flow(name: str, plan: Mapping[str, Step]) -> None:
    from prefect import flow

    @flow(name="journey", flow_run_name=name, persist_result=False)
    def journey() -> None:
        seal_stages(plan)

    journey()


def write_recipe(recipe: Recipe, run: Path) -> None:
    """Put the recipe beside its stages: whole, or as it was."""
    beside = run / ".recipe.yaml.partial"
    with beside.open("w") as file:
        file.write(dump_recipe(recipe))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(run / "recipe.yaml")


@contextmanager
def only_run(run: Path, wait: bool = False) -> Iterator[None]:
    """Hold the run directory; the kernel lets go of it when this process dies."""
    lock = FileLock(run / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise InputError(
                "journey", f"{run} is being worked on by another process", "wait for it or stop it"
            ) from error
        log.info("%s is being worked on by another process: waiting for it", run)
        lock.acquire(poll_interval=1)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _prefect_server() -> Iterator[None]:
    """A temporary server for as long as this process lives, unless one is configured."""
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    settings = get_current_settings()
    if settings.api.url is not None:
        yield
        return
    log.info("starting a temporary Prefect server (about 10 s)")
    with (
        persistent_server(settings.home, for_one_run=True) as url,
        temporary_settings({PREFECT_API_URL: url}),
    ):
        yield
