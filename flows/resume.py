"""`primer resume`: go on with every run that was cut short, wherever it is known.

A Prefect server knows the flow runs of the deployments; the newest of each is looked at. One that
crashed or was cancelled is planned again, and so is one that only seems to run. The runs of
`primer run` leave partial work in their directory and no process that holds its lock: they go on in
this process. Nothing is made twice either way, because sealed stages are skipped and a stage that
was cut short works on in the same directory.

Whether a flow run lives is told by its heartbeats, as its process may be on another machine. A
silent one is waited for until its next heartbeat is overdue, and no run is touched whose directory
a process holds.

The automations (`flows.bootstrap`) do so by themselves where they hear of a death, which they do by
events, and a server that was killed, or whose SQLite was locked, has lost some. `look_again` asks
for states instead, once a minute, and goes on with what they have overlooked.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.asked import asked_of
from flows.bootstrap import CALM_S, RESUMES, SILENCE_S, WORK_POOL
from flows.dead_runs import (
    Newest,
    crash,
    heartbeats,
    is_free,
    is_held,
    newest,
    plan_again,
    seconds_since,
    signs_of_life,
)
from flows.server import is_up
from pipeline.environment import prefect_api_url, runs_directory, silence_s
from pipeline.errors import InputError, StageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

log = logging.getLogger("primer")

LOOK_S = 60
_ENDED_EARLY = {"CRASHED", "CANCELLED"}


def resume_runs(run: str | None) -> Iterator[str]:
    """Go on with RUN, or with all that was cut short; yields a line for each, when it is done.

    Raises InputError where there is no such run, StageError where a server is named and away.
    """
    known: set[str] = set()
    with _server() as client:
        if client is not None:
            for one in newest(client, run):
                known.add(one.recipe)
                yield f"{one.name}: {_resume(client, one, asked=run is not None)}"
            yield from _without_worker(client)
    left = [path for path in _cut_short() if path.name not in known]
    for path in left if run is None else [path for path in left if run in {path.name, str(path)}]:
        known.add(path.name)
        yield f"{path}: {_resume_here(path)}"
    if run is not None and not known:
        _check_exists(run)
        yield f"{run}: nothing was cut short"
    if run is None and not known:
        yield "nothing was cut short"


def look_again(client: SyncPrefectClient) -> Iterator[str]:
    """One look, as an automation: only what crashed or is silent, and a few times each.

    Later than the automations, so that they come first where they have heard of it.
    """
    for one in newest(client, None):
        state, runs = one.flow_run.state, one.flow_run.run_count
        assert state is not None
        if is_held(one.recipe):
            continue
        if state.is_running():
            last = max([state.timestamp, *heartbeats(client, one)])
            if seconds_since(last) > silence_s(SILENCE_S) + CALM_S:
                crash(client, one)
                yield f"{one.name}: {state.name} without a heartbeat, marked as crashed"
        elif (
            state.is_crashed()
            and 0 < runs <= RESUMES
            and seconds_since(state.timestamp) > 2 * CALM_S
        ):
            plan_again(client, one)
            yield f"{one.name}: {state.name}, planned again"


def keep_looking(every_s: float) -> Iterator[str]:
    """`look_again` for ever; a server that is away is waited for."""
    from prefect.client.orchestration import get_client

    while True:
        try:
            with get_client(sync_client=True) as client:
                yield from look_again(client)
        except Exception as error:  # whatever its state: the next look may find it well
            yield f"resume: the Prefect server cannot be asked ({error}); trying again"
        time.sleep(every_s)


def look_beside_work() -> None:
    """`keep_looking` on a thread that ends with this process, to the log."""

    def look() -> None:
        for line in keep_looking(LOOK_S):
            log.info(line)

    # in a copy of this context, which knows the server's address
    threading.Thread(target=contextvars.copy_context().run, args=(look,), daemon=True).start()


def _server() -> Any:
    """The client of the configured server, or None where none is."""
    url = prefect_api_url()
    if url is None:
        return nullcontext()
    if not is_up(url):
        raise StageError("resume", f"the Prefect server at {url} is away", "start it")
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _resume(client: SyncPrefectClient, one: Newest, asked: bool) -> str:
    """What was done with a flow run."""
    state = one.flow_run.state
    assert state is not None
    if state.type in _ENDED_EARLY or (asked and state.is_failed()):
        if is_held(one.recipe):  # its heartbeats were lost, with the server
            return f"{state.name}, left alone: a process here holds its directory"
        plan_again(client, one)
        return f"{state.name}, planned again"
    if state.is_final() or state.is_scheduled() or state.is_paused():
        return f"{state.name}, left alone"
    alive = signs_of_life(client, one)
    if alive is not None:
        return f"{state.name}, left alone: {alive}"
    crash(client, one)
    plan_again(client, one)
    return f"{state.name} without a process, planned again"


def _without_worker(client: SyncPrefectClient) -> Iterator[str]:
    """A word where nobody would take what was planned."""
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        workers = client.read_workers_for_work_pool(WORK_POOL)
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 404:
            raise
        workers = []  # nobody has made the pool yet
    if not any(worker.status == "ONLINE" for worker in workers):
        yield "no worker is at work: start `primer serve`, or `prefect worker start --pool primer`"


def _cut_short() -> list[Path]:
    """Directories of runs with partial work that no process holds, the oldest first."""
    partial = {path.parent for path in runs_directory().glob("*/[0-9][0-9]-*.partial")}
    found = [path for path in partial if (path / "recipe.yaml").is_file() and is_free(path)]
    return sorted(found, key=lambda path: (path / "recipe.yaml").stat().st_mtime)


def _resume_here(path: Path) -> str:
    from flows.recipe import load_recipe
    from flows.run import run_journey

    start, until = asked_of(path)
    run_journey(load_recipe(path / "recipe.yaml"), path, start, until)
    return f"gone on with, until {until or 'the end'}"


def _check_exists(run: str) -> None:
    if not any((place / "recipe.yaml").is_file() for place in (Path(run), runs_directory() / run)):
        raise InputError("resume", f"there is no run {run!r}", "give a name in the runs' folder")
