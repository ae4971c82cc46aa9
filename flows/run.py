"""Run the journey as a Prefect flow: one task per stage, paths in, nothing out.

Prefect watches and shows; our manifests are the memory, so its result cache is off. Where no
Prefect server is configured a temporary one is started (about ten seconds) and stopped, also when
this process is killed. A run in which everything is sealed starts none.
"""

from __future__ import annotations

import logging
import os
import subprocess
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flows.journey import plan_journey
from flows.recipe import Recipe, dump_recipe
from pipeline.errors import InputError, StageError
from pipeline.step import Step, run_step

log = logging.getLogger("primer")

# Defaults only: what a user has set stays. Both of the first two are needed for no telemetry.
_PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_CLIENT_METRICS_ENABLED": "false",
}


def run_journey(
    recipe: Recipe, run: Path, start: str | None = None, until: str | None = None
) -> None:
    """Seal every stage up to `until`; what is sealed already is skipped.

    Raises StageError where a stage fails; its partial work stays for the next try.
    """
    run.mkdir(parents=True, exist_ok=True)
    with _only_run(run):
        plan = plan_journey(recipe, run, start, until)
        if all(step.state == "sealed" for step in plan.values()):
            log.info("%s: all %d stages are sealed, nothing to do", run, len(plan))
            return
        (run / "recipe.yaml").write_text(dump_recipe(recipe))
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


def _flow(name: str, plan: Mapping[str, Step]) -> None:
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    def stage_task(step: Step) -> None:
        @task(name=step.stage.name, cache_policy=NO_CACHE, persist_result=False)
        def seal() -> None:
            run_step(step)

        seal()

    @flow(name="journey", flow_run_name=name, persist_result=False)
    def journey() -> None:
        for step in plan.values():
            stage_task(step)
            if step.stage.name == "card":
                _show_card(step.path / "README.md")

    journey()


def _show_card(card: Path) -> None:
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(
        key="dataset-card", markdown=card.read_text(), description="The dataset card of this run"
    )


@contextmanager
def _only_run(run: Path) -> Iterator[None]:
    """Hold the run directory; the kernel lets go of it when this process dies."""
    try:
        with FileLock(run / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            "journey", f"{run} is being worked on by another process", "wait for it or stop it"
        ) from error


@contextmanager
def _prefect_server() -> Iterator[None]:
    """A temporary server for as long as this process lives, unless one is configured."""
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is not None:
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    watchers: list[subprocess.Popen[bytes]] = []

    class Server(SubprocessASGIServer):
        """Prefect's own, but a killed parent does not leave it behind, starting or started."""

        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            process = super()._run_uvicorn_command()
            watchers.append(_watcher_of(process.pid))
            return process

    log.info("starting a temporary Prefect server (about 10 s)")
    server = Server()
    server.start(timeout=120)
    try:
        yield
    finally:
        server.stop()
        for watcher in watchers:
            watcher.communicate()


def _watcher_of(pid: int) -> subprocess.Popen[bytes]:
    """A shell that ends a process when we end, even by SIGKILL: it reads a pipe that we hold."""
    script = 'cat >/dev/null; kill "$0" 2>/dev/null'
    return subprocess.Popen(["sh", "-c", script, str(pid)], stdin=subprocess.PIPE)
