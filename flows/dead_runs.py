"""Flow runs as `primer resume` sees them: which count, which live, how one is planned again.

The newest flow run of each deployment and its parameters counts; an older one has been replaced.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from flows.bootstrap import HEARTBEAT_S, RESUMED, START_S, TAG
from pipeline.environment import runs_directory
from pipeline.errors import StageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

_SILENT_S = HEARTBEAT_S + 15  # then a heartbeat is overdue
_CANCEL_S = 60  # of a run that is being cancelled: Prefect kills it after 30
_LOOK_S = 2.0
_FIRST = 200  # flow runs that are looked at, the newest ones


@dataclass(frozen=True)
class Newest:
    """The newest flow run of a deployment with its parameters."""

    flow_run: FlowRun
    recipe: str

    @property
    def name(self) -> str:
        """As people know it."""
        return f"{self.flow_run.name} ({str(self.flow_run.id)[:8]})"


def newest(client: SyncPrefectClient, run: str | None) -> list[Newest]:
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
    by_deployment: dict[Any, Newest] = {}
    for flow_run in found:
        parameters = flow_run.parameters
        recipe = str(parameters.get("recipe", {}).get("name", ""))
        if run is None or run in {str(flow_run.id), flow_run.name, recipe, parameters.get("run")}:
            key = (flow_run.deployment_id, json.dumps(parameters, sort_keys=True))
            by_deployment.setdefault(key, Newest(flow_run, recipe))
    return list(by_deployment.values())


def signs_of_life(client: SyncPrefectClient, one: Newest) -> str | None:
    """Why a run that is neither planned nor over is not dead; None where it is, after a wait."""
    state = one.flow_run.state
    assert state is not None
    allowed_s = _SILENT_S if state.is_running() else START_S if state.is_pending() else _CANCEL_S
    while True:
        if is_held(one.recipe):
            return "a process here holds its directory"
        now = client.read_flow_run(one.flow_run.id).state
        if now is None or now.id != state.id:
            return "it goes on"
        last = max([state.timestamp, *heartbeats(client, one)])
        silent_s = seconds_since(last)
        if silent_s > allowed_s:
            return None
        if last > state.timestamp and silent_s < _LOOK_S + 1:
            return "its heart beats"
        if state.is_pending():
            return f"it has been starting for {silent_s:.0f} s"
        time.sleep(_LOOK_S)


def seconds_since(at: datetime) -> float:
    """From then to now."""
    return (datetime.now(UTC) - at).total_seconds()


def heartbeats(client: SyncPrefectClient, one: Newest) -> list[datetime]:
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


def is_held(recipe: str) -> bool:
    """Whether a process of this machine works on a version of the dataset."""
    return bool(recipe) and any(
        not is_free(path)
        for pattern in (recipe, f"{recipe}-v[0-9]*")
        for path in runs_directory().glob(pattern)
    )


def is_free(run: Path) -> bool:
    """Whether no process of this machine works in the directory of a run."""
    if not (run / ".lock").exists():
        return True
    try:
        with FileLock(run / ".lock", timeout=0):
            return True
    except Timeout:
        return False


def crash(client: SyncPrefectClient, one: Newest) -> None:
    """Mark a run whose process is gone."""
    from prefect.states import Crashed

    client.set_flow_run_state(one.flow_run.id, Crashed(message="found dead by `primer resume`"))


def plan_again(client: SyncPrefectClient, one: Newest) -> None:
    """Let a worker take a run once more."""
    from prefect.states import Scheduled

    state: State[Any] = Scheduled(name=RESUMED, message="planned again by `primer resume`")
    done = client.set_flow_run_state(one.flow_run.id, state, force=True)
    if done.status.value != "ACCEPT":
        raise StageError("resume", f"{one.name}: {done.details}", "see to it on Prefect's page")
