"""Let a handoff go on: wake the flow that waits for it, start one, or go on in this process.

The journal has been written before anyone is woken, so a server that is away loses nothing: the
same command goes on when it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.recipe import Recipe
from pipeline.environment import prefect_api_url
from pipeline.errors import StageError
from pipeline.handoff_journal import Entry, attempt_of, read_journal
from pipeline.offer import ENDED
from pipeline.training_report import answer_of, delivery_of
from pipeline.versions import base_name

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

log = logging.getLogger("primer")
_SETTLES_S = 15  # a flow that has noted what it waits for is suspended within seconds


def has_server() -> bool:
    """Whether a Prefect server is configured, in the environment or in Prefect's profile."""
    if prefect_api_url() is not None:
        return True
    from prefect.settings import get_current_settings

    return get_current_settings().api.url is not None


def flow_run_of(attempt: Sequence[Entry]) -> str | None:
    """The flow run that carries an attempt on; None where a process does."""
    named = [e.details["flow_run_id"] for e in attempt if "flow_run_id" in e.details]
    return named[-1] if named else None


def go_on(recipe: Recipe, run: Path, here: bool = False) -> Entry:
    """Do what can be done now, or see to it that a flow does; returns where the journal stands.

    With `here` this process goes on, whatever the server says.
    """
    from flows.advance import InProcess, advance

    attempt = attempt_of(read_journal(run))
    ended = attempt[-1].state in ENDED  # then there is only a flow to be told
    if here or not has_server():
        return attempt[-1] if ended else advance(recipe, run, InProcess())
    with server_client() as client:
        flow = flow_run_of(attempt)
        if (flow is not None and _carries_on(client, UUID(flow), attempt[-1])) or ended:
            return attempt[-1]
        deployment = f"handoff/{base_name(run)}"
        started = _start_flow(client, deployment, recipe, run, len(attempt))
    if started is None:
        log.info("the Prefect server has no deployment %s: going on in this process", deployment)
        return advance(recipe, run, InProcess())
    log.info("the flow run %s of %s goes on", started, deployment)
    return attempt[-1]


def _carries_on(client: SyncPrefectClient, flow: UUID, entry: Entry) -> bool:
    """Whether the flow run is at work, or waits for what is not there yet, or was woken now."""
    from prefect.states import Cancelled

    answer = answer_of(entry)
    state = _settled_state(client, flow, None if answer is None else entry.at)
    if state is None or not state.is_paused():
        return state is not None and not state.is_final()
    if answer is None:
        return True
    result = client.resume_flow_run(flow, answer.model_dump(mode="json"))
    if result.status.value == "ACCEPT":
        return True
    # such as one that was killed between being suspended and saying what it waits for
    log.warning("flow run %s cannot be woken (%s): another one goes on", flow, result.details)
    client.set_flow_run_state(flow, Cancelled(message="another flow run goes on"), force=True)
    return False


def _settled_state(client: SyncPrefectClient, flow: UUID, answered: str | None) -> State | None:
    """The state of a flow run; None where it is gone.

    One that is running at the moment of the answer may be about to wait for it, and would then
    miss it: it is given the time to be suspended.
    """
    from prefect.exceptions import ObjectNotFound

    while True:
        try:
            state = client.read_flow_run(flow).state
        except ObjectNotFound:
            return None
        if answered is None or state is None or not state.is_running():
            return state
        age_s = (datetime.now(UTC) - datetime.fromisoformat(answered)).total_seconds()
        if not 0 <= age_s <= _SETTLES_S:
            return state
        time.sleep(1)


def _start_flow(
    client: SyncPrefectClient, deployment: str, recipe: Recipe, run: Path, entries: int
) -> UUID | None:
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Scheduled

    try:
        found = client.read_deployment_by_name(deployment)
    except ObjectNotFound:
        return None
    parameters: dict[str, Any] = {"recipe": recipe.model_dump(mode="json"), "run": run.name}
    key = f"handoff-{delivery_of(run)}-{entries}"
    while True:  # the run of a key is made once, and may have ended without an entry
        made = client.create_flow_run_from_deployment(
            found.id, parameters=parameters, state=Scheduled(), idempotency_key=key
        )
        if made.state is None or not made.state.is_final():
            return made.id
        key = f"{key}-after-{made.id}"


def is_carried_on_by_another(attempt: Sequence[Entry], flow_run_id: str) -> bool:
    """Whether a flow run that is not this one waits for the same answer, or is at work on it."""
    flow = flow_run_of(attempt)
    if flow is None or flow == flow_run_id:
        return False
    with server_client() as client:
        return _carries_on(client, UUID(flow), attempt[-1])


@contextmanager
def server_client() -> Iterator[SyncPrefectClient]:
    """A client of the Prefect server, whose trouble with it is one line."""
    from prefect.client.orchestration import get_client

    with server_trouble(), get_client(sync_client=True) as client:
        yield client


@contextmanager
def server_trouble() -> Iterator[None]:
    """Make what asking the Prefect server raises one line."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise StageError(
            "handoff", f"the Prefect server cannot be asked ({type(error).__name__}: {error})",
            "nothing is lost: the same command goes on when it is back, or add --here",
        ) from error  # fmt: skip
