"""`primer resume`: go on with every run that was cut short, wherever it is known.

A Prefect server knows the flow runs of the deployments; the newest of each is looked at. One that
crashed or was cancelled is planned again, and so is one that only seems to run. The runs of
`primer run` leave partial work in their directory and no process that holds its lock: they go on in
this process. Nothing is made twice either way, because sealed stages are skipped and a stage that
was cut short works on in the same directory.

Whether a flow run lives is told by its heartbeats, as its process may be on another machine. A
silent one is waited for as long as the automation would wait, and no run is touched whose directory
a process holds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from flows.asked import asked_of
from flows.bootstrap import HEARTBEAT_S, RESUMED, START_S, TAG, WORK_POOL
from flows.server import is_up
from pipeline.environment import prefect_api_url, runs_directory
from pipeline.errors import InputError, StageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

_SILENT_S = HEARTBEAT_S + 15  # then a heartbeat is overdue
_LOOK_S = 2.0
_ENDED_EARLY = {"CRASHED", "CANCELLED"}
_FIRST = 200  # flow runs that are looked at, the newest ones


def resume_runs(run: str | None) -> Iterator[str]:
    """Go on with RUN, or with all that was cut short; yields a line for each, when it is done.

    Raises InputError where there is no such run, StageError where a server is named and away.
    """
    known: set[str] = set()
    with _server() as client:
        if client is not None:
            for one in _newest(client, run):
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


@dataclass(frozen=True)
class Newest:
    """The newest flow run of a deployment with its parameters."""

    flow_run: FlowRun
    recipe: str

    @property
    def name(self) -> str:
        """As people know it."""
        return f"{self.flow_run.name} ({str(self.flow_run.id)[:8]})"


def _server() -> Any:
    """The client of the configured server, or None where none is."""
    url = prefect_api_url()
    if url is None:
        return nullcontext()
    if not is_up(url):
        raise StageError("resume", f"the Prefect server at {url} is away", "start it")
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _newest(client: SyncPrefectClient, run: str | None) -> list[Newest]:
    """The newest flow run of each deployment and its parameters, that began or should have."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate({
            "tags": {"all_": [TAG]},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        }),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_FIRST,
    )  # fmt: skip
    newest: dict[Any, Newest] = {}
    for flow_run in found:
        parameters = flow_run.parameters
        recipe = str(parameters.get("recipe", {}).get("name", ""))
        if run is None or run in {str(flow_run.id), flow_run.name, recipe, parameters.get("run")}:
            key = (flow_run.deployment_id, json.dumps(parameters, sort_keys=True))
            newest.setdefault(key, Newest(flow_run, recipe))
    return list(newest.values())


def _resume(client: SyncPrefectClient, one: Newest, asked: bool) -> str:
    """What was done with a flow run."""
    state = one.flow_run.state
    assert state is not None
    if state.type in _ENDED_EARLY or (asked and state.is_failed()):
        if _is_held(one.recipe):  # its heartbeats were lost, with the server
            return f"{state.name}, left alone: a process here holds its directory"
        _plan_again(client, one)
        return f"{state.name}, planned again"
    if state.is_final() or state.is_scheduled() or state.is_paused():
        return f"{state.name}, left alone"
    alive = _signs_of_life(client, one)
    if alive is not None:
        return f"{state.name}, left alone: {alive}"
    _crash(client, one)
    _plan_again(client, one)
    return f"{state.name} without a process, planned again"


def _signs_of_life(client: SyncPrefectClient, one: Newest) -> str | None:
    """Why a run that is neither planned nor over is not dead; None where it is, after a wait."""
    state = one.flow_run.state
    assert state is not None
    allowed_s = _SILENT_S if state.is_running() else START_S if state.is_pending() else 60
    while True:
        if _is_held(one.recipe):
            return "a process here holds its directory"
        now = client.read_flow_run(one.flow_run.id).state
        if now is None or now.id != state.id:
            return "it goes on"
        last = max([state.timestamp, *_heartbeats(client, one)])
        silent_s = (datetime.now(UTC) - last).total_seconds()
        if silent_s > allowed_s:
            return None
        if last > state.timestamp and silent_s < _LOOK_S + 1:
            return "its heart beats"
        if state.is_pending():
            return f"it has been starting for {silent_s:.0f} s"
        time.sleep(_LOOK_S)


def _heartbeats(client: SyncPrefectClient, one: Newest) -> list[datetime]:
    """When its last heartbeat was, if it had one."""
    from prefect.events.filters import EventFilter

    page = client.read_events(
        EventFilter.model_validate({
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{one.flow_run.id}"]},
        }),
        limit=1,
    )  # fmt: skip
    return [event.occurred for event in page.events]


def _is_held(recipe: str) -> bool:
    """Whether a process of this machine works on a version of the dataset."""
    return bool(recipe) and any(
        not _is_free(path)
        for pattern in (recipe, f"{recipe}-v[0-9]*")
        for path in runs_directory().glob(pattern)
    )


def _is_free(run: Path) -> bool:
    if not (run / ".lock").exists():
        return True
    try:
        with FileLock(run / ".lock", timeout=0):
            return True
    except Timeout:
        return False


def _crash(client: SyncPrefectClient, one: Newest) -> None:
    from prefect.states import Crashed

    client.set_flow_run_state(one.flow_run.id, Crashed(message="found dead by `primer resume`"))


def _plan_again(client: SyncPrefectClient, one: Newest) -> None:
    from prefect.states import Scheduled

    state: State[Any] = Scheduled(name=RESUMED, message="planned again by `primer resume`")
    done = client.set_flow_run_state(one.flow_run.id, state, force=True)
    if done.status.value != "ACCEPT":
        raise StageError("resume", f"{one.name}: {done.details}", "see to it on Prefect's page")


def _without_worker(client: SyncPrefectClient) -> Iterator[str]:
    """A word where nobody would take what was planned."""
    from prefect.exceptions import ObjectNotFound

    try:
        workers = client.read_workers_for_work_pool(WORK_POOL)
    except ObjectNotFound:
        workers = []
    if not any(worker.status == "ONLINE" for worker in workers):
        yield "no worker is at work: start `primer serve`, or `prefect worker start --pool primer`"


def _cut_short() -> list[Path]:
    """Directories of runs with partial work that no process holds, the oldest first."""
    partial = {path.parent for path in runs_directory().glob("*/[0-9][0-9]-*.partial")}
    found = [path for path in partial if (path / "recipe.yaml").is_file() and _is_free(path)]
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
