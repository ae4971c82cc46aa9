"""The handoff as a Prefect flow: it verifies and shows, then is suspended until a person decides.

A suspended flow has no process: it waits for days, through restarts of worker and server, and
shows on Prefect's page as Suspended with a form. When it is resumed it runs again from its top, and
the journal tells it what was done. It is suspended a second time until the trainer reports. Input
that does not fit is refused by the server (status REJECT) and, should it get through, asked for
again here. Nobody answering in time makes the flow run Failed, and the handoff waits on: a new
flow run goes on with it.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import TypeVar

from prefect import suspend_flow_run
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State, StateType
from prefect.context import get_run_context
from prefect.states import Completed
from pydantic import BaseModel, ValidationError

from flows.advance import advance
from flows.recipe import Recipe
from flows.run import write_recipe
from flows.wake import flow_run_of, is_carried_on_by_another
from pipeline.approval import Decision
from pipeline.environment import user_name
from pipeline.errors import InputError
from pipeline.handoff_journal import (
    HANDOFFS,
    Entry,
    attempt_of,
    dataset_fingerprint,
    read_journal,
)
from pipeline.offer import may_request, request_handoff
from pipeline.training_report import TrainingReport

log = logging.getLogger("primer")
M = TypeVar("M", bound=BaseModel)
_DAY_S = 86_400


class InFlow:
    """The flow run that we are in: it is suspended to wait, and shows pages as artifacts."""

    def __init__(self, flow_run_id: str) -> None:
        self.flow_run_id = flow_run_id

    def ask_decision(self, attempt: str, days: float) -> Decision | None:
        """Ends this process by an exception of Prefect's, unless the flow was resumed with one."""
        return _ask(Decision, f"approval-{attempt}", days)

    def ask_report(self, attempt: str, days: float) -> TrainingReport | None:
        """The same for the trainer's last report."""
        return _ask(TrainingReport, f"training-{attempt}", days)

    def publish(self, key: str, markdown: str) -> None:
        """A Markdown artifact, which Prefect's page renders."""
        create_markdown_artifact(key=key, markdown=markdown)


def hand_over_flow_body(recipe: Recipe, run: Path) -> State[None]:
    """What the flow of the deployment `handoff/<recipe>` does; returns the state to end in."""
    flow_run = getattr(get_run_context(), "flow_run", None)
    if flow_run is None:
        raise InputError("handoff", "this is no flow run", "use primer handoff RUN")
    flow_run_id = str(flow_run.id)
    _check_dataset(run, flow_run_id)
    attempt = attempt_of(read_journal(run))
    if is_carried_on_by_another(attempt, flow_run_id):
        other = flow_run_of(attempt)
        return Completed(name="Elsewhere", message=f"the flow run {other} carries it on")
    write_recipe(recipe, run)
    if may_request(run):
        request_handoff(run, by=user_name())
    return _ended(advance(recipe, run, InFlow(flow_run_id)))


def _ended(entry: Entry) -> State[None]:
    """The state of a handoff as Prefect shows it: rejected is no success, and no failure."""
    kind = {"rejected": StateType.CANCELLED, "failed": StateType.FAILED}
    return State(
        type=kind.get(entry.state, StateType.COMPLETED),
        name=entry.state.capitalize(),
        message=f"{entry.by or 'Primer'}: {entry.reason}",
    )


def _check_dataset(run: Path, flow_run_id: str) -> None:
    """A flow that waited for one dataset must not go on with another."""
    now = dataset_fingerprint(run)
    for directory in sorted((run / HANDOFFS).glob("*/")):
        attempt = attempt_of(read_journal(run, directory.name))
        ours = any(entry.details.get("flow_run_id") == flow_run_id for entry in attempt)
        if ours and directory.name != now[:16]:
            raise InputError(
                "handoff", f"{run} holds another dataset ({now[:16]}) than the one that this flow "
                f"has shown ({directory.name})", "hand that one over by itself",
            )  # fmt: skip


def _ask(kind: type[M], key: str, days: float) -> M:
    """Wait for input of this kind. Each key suspends once, and gives its input ever after."""
    for number in itertools.count():
        try:
            return suspend_flow_run(
                wait_for_input=kind, timeout=int(days * _DAY_S), key=f"{key}-{number}"
            )
        except ValidationError as error:
            log.warning("the input does not fit, and is asked for again: %s", error)
    raise AssertionError
