"""Start the training of an approved dataset, through exactly one way, and at most once.

All three ways know an attempt by its delivery id, so a flow that died after it had started a
training may start it again: Prefect returns the run it made for the idempotency key, the command's
watcher finds that another one works, and the webhook's receiver that it has acted.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from flows.recipe import Recipe
from flows.wake import has_server, server_client, server_trouble
from pipeline.errors import InputError, StageError
from pipeline.handoff_journal import Entry, journal_directory
from pipeline.manifest import hash_file
from pipeline.offer import handoff_file
from pipeline.training_config import (
    CommandTrigger,
    DeploymentTrigger,
    WebhookTrigger,
    fill_in,
)
from pipeline.training_report import TrainingReport

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


def describe_trigger(recipe: Recipe, run: Path, delivery: str, dataset: str) -> str:
    """What an approval starts, in words, for the preview."""
    trigger = recipe.training.trigger
    if isinstance(trigger, DeploymentTrigger):
        return f"the Prefect deployment {trigger.name}"
    if isinstance(trigger, CommandTrigger):
        values = placeholders(recipe, run, delivery, dataset)
        return f"the command {shlex.join(fill_in(trigger.arguments, values))}"
    if isinstance(trigger, WebhookTrigger):
        return f"a signed POST to {trigger.url}"
    return "nothing: it waits for a trainer's report"


def placeholders(recipe: Recipe, run: Path, delivery: str, dataset: str) -> dict[str, str]:
    """What {names} in a command or in a deployment's parameters stand for."""
    beside = Path(sys.executable).with_name("primer")
    directory = journal_directory(run, dataset).resolve()
    return {
        "handoff": str(handoff_file(run).resolve()),
        "run": str(run.resolve()),
        "name": run.name,
        "arm": recipe.training.arm,
        "out": str(directory / f"model-{delivery.rpartition('-')[2]}"),
        "fingerprint": dataset,
        "delivery": delivery,
        "primer": str(beside) if beside.exists() else shutil.which("primer") or "primer",
    }


def start_training(
    recipe: Recipe, run: Path, delivery: str, dataset: str, approval: Entry
) -> dict[str, Any]:
    """Start it, or find that it was started; returns what the journal keeps about it."""
    trigger = recipe.training.trigger
    values = placeholders(recipe, run, delivery, dataset)
    if isinstance(trigger, DeploymentTrigger):
        found = _start_deployment(trigger, delivery, values)
    elif isinstance(trigger, CommandTrigger):
        from flows.training_command import start_command

        order = journal_directory(run, dataset) / f"training-{delivery.rpartition('-')[2]}.json"
        arguments = fill_in(trigger.arguments, values)
        model = fill_in(trigger.model, values)
        found = start_command(order.resolve(), arguments, run, delivery, model)
    elif isinstance(trigger, WebhookTrigger):
        from flows.webhook import send_webhook

        message = _message(recipe, run, delivery, dataset, approval)
        found = {"url": trigger.url, **send_webhook(trigger, delivery, message)}
    else:
        found = {}
    return {"by": trigger.by if trigger else None, "delivery": delivery, **found}


def _start_deployment(
    trigger: DeploymentTrigger, delivery: str, values: dict[str, str]
) -> dict[str, Any]:
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    if not has_server():  # Prefect would start one of its own, which knows no deployment
        raise InputError(
            "handoff", f"the deployment {trigger.name!r} is to train, and no Prefect server is "
            "configured here", "set PREFECT_API_URL",
        )  # fmt: skip
    try:
        with server_trouble():
            run = run_deployment(
                trigger.name, parameters=fill_in(trigger.parameters, values), timeout=0,
                as_subflow=False, idempotency_key=f"training-{delivery}",
            )  # fmt: skip
    except ObjectNotFound as error:
        raise StageError(
            "handoff", f"there is no deployment {trigger.name!r}",
            "serve it (primer serve), or name another in training.trigger",
        ) from error  # fmt: skip
    return {"deployment": trigger.name, "training_flow_run_id": str(run.id)}  # type: ignore[union-attr]


def _message(
    recipe: Recipe, run: Path, delivery: str, dataset: str, approval: Entry
) -> dict[str, Any]:
    """The body of the webhook; docs/handing-over.md lists it."""
    path = handoff_file(run)
    return {
        "event": "handoff.approved",
        "delivery": delivery,
        "dataset_fingerprint": dataset,
        "run": run.name,
        "recipe": recipe.name,
        "arm": recipe.training.arm,
        "handoff": str(path.resolve()),
        "handoff_sha256": hash_file(path),
        "dataset_address": recipe.training.dataset_address,
        "report_address": recipe.training.report_address,
        "approved_by": approval.by,
        "reason": approval.reason,
    }


_STATES: dict[str, Literal["running", "done", "failed"]] = {
    "RUNNING": "running", "COMPLETED": "done", "FAILED": "failed", "CRASHED": "failed",
    "CANCELLED": "failed",
}  # fmt: skip


def ask_after(started: Entry) -> TrainingReport | None:
    """How a training stands that has not reported, where that can be asked."""
    details = started.details
    delivery = details.get("delivery")
    if "training_flow_run_id" in details:
        state = _state_of_flow(details["training_flow_run_id"]) if has_server() else None
        found = _STATES.get(state.type.value) if state else None
        if state is None or found is None:
            return None
        why = f"its flow run is {state.name}"
        return TrainingReport(state=found, by=details["deployment"], reason=why, delivery=delivery)
    if "order" in details:
        from flows.training_command import was_lost

        if was_lost(Path(details["order"])):
            why = "its end was not seen: who watched it was killed"
            return TrainingReport(state="failed", by="command", reason=why, delivery=delivery)
    return None


def _state_of_flow(flow_run_id: str) -> State[Any] | None:
    """None where somebody has deleted it: then only the trainer can say how it ended."""
    from prefect.exceptions import ObjectNotFound

    with server_client() as client:
        try:
            return client.read_flow_run(UUID(flow_run_id)).state
        except ObjectNotFound:
            return None
