"""What Primer needs of a Prefect server: the work pool, and the automations that find the dead.

A process that is killed cannot say so. A flow run says every 30 seconds that it lives; an
automation marks one that was silent for longer as Crashed. Another plans a crashed run again: what
is sealed is skipped and a stage that was under way goes on, so this costs what the crash cost. It
does so a few times only: Prefect counts how often a run has started, and the automation matches the
small numbers alone, so a run that kills its process each time ends as Crashed, for a person to see.

Automations hear of events, and miss some. A server that was killed has forgotten which events it
had seen, and lets those that follow wait 15 minutes: so it is with a run that has changed its state
in the five minutes before. And SQLite, where it is locked, drops events. `primer resume --every 60`
asks for states instead, and goes on with what was missed.

Everything is matched by the tag `primer`, which heartbeats carry too (they do not name the pool).
It can be done again at any time: what exists stays, and what a person has switched off stays off.
Costs about a second. Source: https://docs.prefect.io/v3/advanced/detect-zombie-flows
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pipeline.environment import silence_s
from pipeline.errors import InputError, StageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore, EventTrigger

WORK_POOL = "primer"
TAG = "primer"
HEARTBEAT_S = 30  # Prefect's least
SILENCE_S = 90  # two lost heartbeats are forgiven, and the death of a run costs no more than this
START_S = 300  # from Pending to Running: imports on a busy machine
# A worker reports a dead process twice, 4 s apart, or 20 s where the machine is busy; the second
# report crashes what was planned again by then. So the automation waits. (Two processes of one run
# do no harm: the second waits for the directory.)
CALM_S = 30
RESUMES = 5  # by the automation; `primer resume` goes on beyond these
NO_HEARTBEAT, NO_START = "no heartbeat", "no process"  # how the states' messages begin
RESUMED = "AwaitingRetry"  # as Prefect calls a run that is planned again

# Left to itself, a server keeps the leases of its limits in memory. One that was killed
# must find them again: without its lease, a slot may never be given back.
SERVER_ENVIRONMENT = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    )
}
# Of workers and flow runs: heartbeats, and patience with a server that comes back in two minutes (a
# request is tried again after 1, 2, 4, ... 64 s). The end of its database is a 500 to its clients.
CLIENT_ENVIRONMENT = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
}
_ENDED = ["Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Suspended", "Paused"]


def bootstrap(client: SyncPrefectClient | None = None) -> list[str]:
    """Create what is missing on the server; returns the names of what was made or renewed."""
    if client is not None:
        return [*_work_pool(client), *_automations(client)]
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    from flows.server import is_up  # which takes its server's environment from here

    url = get_current_settings().api.url
    if url is None:
        raise InputError("bootstrap", "no Prefect server is named", "set PREFECT_API_URL")
    if not is_up(url):
        raise StageError("bootstrap", f"the Prefect server at {url} is away", "start it")
    with get_client(sync_client=True) as opened:
        return bootstrap(opened)


def _work_pool(client: SyncPrefectClient) -> list[str]:
    """The pool; one that a worker made, because it was started first, gets what flows need."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        template = client.read_work_pool(WORK_POOL).base_job_template
        exists = True
    except ObjectNotFound:
        template, exists = ProcessWorker.get_default_base_job_template(), False
    environment = template["variables"]["properties"]["env"]
    found = environment.get("default") or {}
    if exists and CLIENT_ENVIRONMENT.keys() <= found.keys():
        return []
    environment["default"] = CLIENT_ENVIRONMENT | found
    if exists:
        client.update_work_pool(WORK_POOL, WorkPoolUpdate(base_job_template=template))
    else:
        client.create_work_pool(
            WorkPoolCreate(
                name=WORK_POOL,
                type="process",
                description="Runs of Primer, as processes of the workers.",
                base_job_template=template,
            )
        )
    return [f"work pool {WORK_POOL}"]


def _automations(client: SyncPrefectClient) -> list[str]:
    made = []
    for wanted in (_no_heartbeat(), _no_start(), _resume(), _resume_unstarted()):
        found = client.read_automations_by_name(wanted.name)
        if not found:
            client.create_automation(wanted)
        elif _meaning(found[0]) != _meaning(wanted):  # of another version, or another silence
            wanted.enabled = found[0].enabled
            client.update_automation(found[0].id, wanted)
        else:
            continue
        made.append(f"automation {wanted.name}")
    return made


def _meaning(one: AutomationCore) -> dict[str, Any]:
    return one.model_dump(include={"description", "trigger", "actions"})


def _no_heartbeat() -> AutomationCore:
    within_s = silence_s(SILENCE_S)
    # also after Running: the first heartbeat of a run that dies at once may be lost
    trigger = _proactive(
        after=["prefect.flow-run.heartbeat", *_states(["Running"])],
        expect=["prefect.flow-run.heartbeat", *_states([*_ENDED, "Scheduled", RESUMED])],
        within_s=within_s,
    )
    message = f"{NO_HEARTBEAT} for {within_s} s: its process, its worker or its machine died"
    return _automation("primer: no heartbeat", message, trigger, "CRASHED", None, message)


def _no_start() -> AutomationCore:
    trigger = _proactive(
        after=_states(["Pending"]),
        expect=_states([*_ENDED, "Running", "Scheduled", RESUMED]),
        within_s=START_S,
    )
    message = f"{NO_START} within {START_S} s: the worker that took it died"
    return _automation("primer: no start", message, trigger, "CRASHED", None, message)


def _resume() -> AutomationCore:
    """Of runs that have started: their count grows with each try, and bounds the tries."""
    match = {"prefect.run-count": [str(count) for count in range(1, RESUMES + 1)]}
    why = f"planned again after a crash, at most {RESUMES} times"
    name = "primer: crashed runs go on"
    return _automation(name, why, _crashed(match), "SCHEDULED", RESUMED, why)


def _resume_unstarted() -> AutomationCore:
    """Of runs that no process ever had: any number of times, because none of them did harm."""
    match = {"prefect.run-count": "0", "prefect.state-message": f"{NO_START}*"}
    why = "planned again, because the worker that had taken it died"
    name = "primer: runs that were not started go on"
    return _automation(name, why, _crashed(match), "SCHEDULED", RESUMED, why)


def _crashed(match: dict[str, Any]) -> EventTrigger:
    others = ["Scheduled", RESUMED, "Pending", "Running", "Completed", "Failed", "Cancelled"]
    return _proactive(_states(["Crashed"]), _states(others), CALM_S, match)


def _proactive(
    after: list[str], expect: list[str], within_s: int, match: dict[str, Any] | None = None
) -> EventTrigger:
    """Fires where a run did `after`, and nothing of `expect` within the time.

    The server keeps what it waits for in its database, so its own end in between delays it only.
    """
    from prefect.events.schemas.automations import EventTrigger, Posture

    return EventTrigger.model_validate({
        "posture": Posture.Proactive, "after": after, "expect": expect, "threshold": 1,
        "for_each": ["prefect.resource.id"], "within": timedelta(seconds=within_s),
        "match": {"prefect.resource.id": "prefect.flow-run.*", **(match or {})},
        "match_related": {
            "prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag",
        },
    })  # fmt: skip


def _automation(
    name: str, description: str, trigger: EventTrigger, state: str, state_name: str | None,
    message: str,
) -> AutomationCore:  # fmt: skip
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore

    action = ChangeFlowRunState(state=StateType(state), name=state_name, message=message)
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[action])


def _states(names: list[str]) -> list[str]:
    return [f"prefect.flow-run.{name}" for name in names]
