"""Serve recipes on one machine: their deployments and schedules, and a worker that works on them.

Where PREFECT_API_URL (or the profile of the Prefect user) names a server, that one is used. Else a
server is started, with its web page and an SQLite database in PREFECT_HOME or `runs/.prefect`, for
as long as this command lives; what it knows is there again next time. The worker takes runs from
the pool as any other worker does, each as a process of its own: a run that dies takes nothing with
it, and more machines may join with `prefect worker start --pool primer`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.bootstrap import CLIENT_ENVIRONMENT
from flows.deployments import plan_deployments
from flows.recipe import Recipe, load_recipe
from flows.resume import look_beside_work
from flows.server import SILENT, persistent_server
from pipeline.environment import runs_directory
from pipeline.errors import InputError, StageError

log = logging.getLogger("primer")

PAGE_PORT = 4_200  # Prefect's own
# A look for due runs each 5 s and not 15, because there is one worker and its server is beside it.
_PREFECT = SILENT | CLIENT_ENVIRONMENT | {
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",
}  # fmt: skip


def serve_recipes(
    recipes: Sequence[Path],
    changes: Iterable[str] = (),
    limit: int = 2,
    ui_port: int = PAGE_PORT,
    with_schedules: bool = True,
    once: bool = False,
) -> None:
    """Register every recipe's deployments, and work on their runs until stopped.

    With `once`, work on what is due now and end with it.
    """
    planned = plan_all(load_all(recipes, changes), with_schedules)
    for name, value in _PREFECT.items():
        os.environ.setdefault(name, value)
    with _server(ui_port):
        _register(planned)
        if not once:
            look_beside_work()
        asyncio.run(_work(limit, once))
    log.info("stopped; what was under way goes on when recipes are served again")


def load_all(paths: Sequence[Path], changes: Iterable[str]) -> list[Recipe]:
    """The recipes, all of different names."""
    changes = list(changes)
    recipes = [load_recipe(path, changes) for path in paths]
    names = [recipe.name for recipe in recipes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("serve", f"two recipes are called {twice[0]!r}", "rename one of them")
    return recipes


def plan_all(recipes: Iterable[Recipe], with_schedules: bool = True) -> list[dict[str, Any]]:
    """The deployments of all recipes, as a prefect.yaml words them."""
    return [one for recipe in recipes for one in plan_deployments(recipe, with_schedules)]


@contextmanager
def _server(ui_port: int) -> Iterator[None]:
    """The server that is configured, or one of our own."""
    home = os.environ.get("PREFECT_HOME")
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    url = get_current_settings().api.url
    if url is not None:
        log.info("using the Prefect server at %s", url)
        yield
        return
    place = Path(home) if home else runs_directory().absolute() / ".prefect"
    log.info("starting a Prefect server in %s (about 10 s)", place)
    with (
        persistent_server(place, ui_port) as url,
        temporary_settings({PREFECT_API_URL: url}),
    ):
        log.info("its page: %s", url.removesuffix("/api"))
        yield


def _register(planned: Iterable[dict[str, Any]]) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    from flows.bootstrap import bootstrap

    for made in bootstrap():
        log.info("made: %s", made)
    for one in planned:
        try:
            deployment = _deployment(one)
            deployment.apply()
        except (ValueError, PrefectHTTPStatusError) as error:
            raise InputError(
                "serve", f"{one['entrypoint']} of {one['name']}: {error}", "correct its schedule"
            ) from error
        log.info("serving %s%s", deployment.full_name, _in_words(one))


def _deployment(one: dict[str, Any]) -> Any:
    """What Prefect registers, from a deployment as a prefect.yaml words it."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.deployments.runner import RunnerDeployment
    from prefect.events import DeploymentEventTrigger
    from prefect.flows import load_flow_from_entrypoint
    from prefect.schedules import Schedule
    from prefect.types.entrypoint import EntrypointType

    return RunnerDeployment.from_flow(
        load_flow_from_entrypoint(one["entrypoint"]),
        name=one["name"],
        schedules=[_schedule(Schedule, fields) for fields in one["schedules"]],
        triggers=[DeploymentEventTrigger.model_validate(fields) for fields in one["triggers"]],
        concurrency_limit=ConcurrencyLimitConfig(**one["concurrency_limit"]),
        parameters=one["parameters"],
        tags=one["tags"],
        work_pool_name=one["work_pool"]["name"],
        job_variables=one["work_pool"]["job_variables"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _schedule(kind: Any, fields: dict[str, Any]) -> Any:
    from datetime import datetime, timedelta

    made = dict(fields)
    if "interval" in made:
        made["interval"] = timedelta(seconds=made["interval"])
        made["anchor_date"] = datetime.fromisoformat(made["anchor_date"])
    return kind(**made)


def _in_words(one: dict[str, Any]) -> str:
    said = [
        f"cron {fields['cron']} {fields['timezone']}"
        if "cron" in fields
        else f"every {fields['interval']} s"
        for fields in one["schedules"]
    ]
    said += [f"on {event}" for fields in one["triggers"] for event in fields["expect"]]
    return f" ({'; '.join(said)})" if said else ""


async def _work(limit: int, once: bool) -> None:
    """Work on the pool's runs until a signal comes, whatever a shell made of its jobs' signals."""
    import httpx

    from flows.served_worker import ServedWorker

    worker = ServedWorker(f"{socket.gethostname()}-{os.getpid()}", limit)
    work = asyncio.create_task(worker.start(run_once=once, printer=log.info))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        try:
            for run in await worker.plan_again():
                log.info("%s is planned again", run)
        except httpx.HTTPError as error:  # their missing heartbeats will be noticed
            log.warning("the server cannot be told what was stopped (%s)", error)
    except Exception as error:
        raise StageError("serve", f"the worker failed ({error})", "start it again") from error
