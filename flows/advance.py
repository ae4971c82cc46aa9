"""Carry a handoff on from where its journal stands, until somebody else has to act.

    requested -> verified -> previewed -> waiting -> approved -> triggered -> running -> done
    -> evaluated -> promoted or held;  waiting -> rejected;  anything may end as failed

Each step reads the journal, does one thing and puts down that it was done, so it does not matter
who comes by (a flow that was suspended, one that replaces a killed one, a command) or how often.
What differs between them is how a person or a trainer is waited for: that is `Surroundings`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from flows.recipe import Recipe
from flows.trained_model import evaluate_trained
from flows.trigger import describe_trigger, start_training
from pipeline.addresses import whole_file
from pipeline.approval import Decision, decide
from pipeline.errors import InputError, StageError
from pipeline.handoff_journal import (
    Entry,
    append_entry,
    attempt_of,
    dataset_fingerprint,
    journal_directory,
    read_journal,
)
from pipeline.offer import PREVIEW, check_still_offered, make_offer, publish_preview
from pipeline.promotion import PROMOTE, describe_promotion, judge_promotion
from pipeline.training_report import TrainingReport, delivery_of, note_triggered, record_report

VERDICT = "verdict.md"
_PATIENCE_S = 30


class Surroundings(Protocol):
    """How those who carry a handoff on wait, and where they show what they made."""

    @property
    def flow_run_id(self) -> str | None:
        """The flow run that can be resumed; None outside of a flow."""

    def ask_decision(self, attempt: str, days: float) -> Decision | None:
        """A person's decision; None where it is not waited for here."""

    def ask_report(self, attempt: str, days: float) -> TrainingReport | None:
        """How the training ended; None where it is not waited for here."""

    def publish(self, key: str, markdown: str) -> None:
        """Show a page where people look."""


class InProcess:
    """A command: it waits for nobody, and its pages are files alone."""

    flow_run_id: str | None = None

    def ask_decision(self, attempt: str, days: float) -> Decision | None:
        """A later command brings it."""

    def ask_report(self, attempt: str, days: float) -> TrainingReport | None:
        """A later command brings it."""

    def publish(self, key: str, markdown: str) -> None:
        """The file beside the journal is all there is."""


@dataclass(frozen=True)
class Handing:
    """One dataset on its way: the recipe, the run, its fingerprint, and who carries it."""

    recipe: Recipe
    run: Path
    dataset: str
    around: Surroundings

    @property
    def attempt(self) -> list[Entry]:
        """The journal of this attempt."""
        return attempt_of(read_journal(self.run, self.dataset))

    @property
    def delivery(self) -> str:
        """The id of this attempt."""
        return delivery_of(self.run, self.dataset)

    def note(self, state: str, before: str, **given: object) -> None:
        """Put down that a step was done, unless somebody was here in the meantime."""
        reason = given.pop("reason", None)
        append_entry(
            self.run, state, details=given, after={before}, fingerprint=self.dataset,
            reason=None if reason is None else str(reason),
        )  # fmt: skip


def advance(recipe: Recipe, run: Path, around: Surroundings) -> Entry:
    """Do every step that can be done now; returns where the journal stands then.

    Raises what a step raises: the journal is then where the step began, with the trouble in the
    entry's details, and the same call goes on.
    """
    handing = Handing(recipe, run, dataset_fingerprint(run), around)
    with _alone(run, handing.dataset):
        while step := _STEPS.get(handing.attempt[-1].state):
            if dataset_fingerprint(run) != handing.dataset:
                raise StageError(
                    "handoff", f"{run} holds another dataset than the one that was offered",
                    "ask for its own handoff",
                )  # fmt: skip
            if not _do(step, handing):
                break
        return handing.attempt[-1]


def _do(step: Callable[[Handing], bool], handing: Handing) -> bool:
    """One step; trouble is put into the journal, where those look who did not start it."""
    before = handing.attempt[-1]
    try:
        return step(handing)
    except Exception as error:
        foreseen = isinstance(error, StageError)
        trouble = str(error) if foreseen else f"an unforeseen {type(error).__name__} ({error})"
        if handing.attempt[-1] == before:
            with suppress(InputError):  # somebody was here in the meantime
                append_entry(
                    handing.run, before.state, by=before.by, reason=before.reason,
                    details={**before.details, "trouble": trouble}, after={before.state},
                    fingerprint=handing.dataset,
                )  # fmt: skip
        raise


def _verify(handing: Handing) -> bool:
    recipe, run, now = handing.recipe, handing.run, handing.attempt[-1].state
    try:
        starts = describe_trigger(recipe, run, handing.delivery, handing.dataset)
        offer = make_offer(run, recipe.training, recipe.handoff.key_variable, starts)
    except Exception as error:
        handing.note("failed", now, reason=f"it does not verify: {error}")
        raise
    handing.note("verified", now, handoff_sha256=offer.handoff_sha256, **offer.figures)
    places = publish_preview(run, offer, recipe.training.preview_address)
    handing.around.publish("handoff-preview", offer.preview)
    handing.note("previewed", "verified", places=places)
    return True


def _offer(handing: Handing) -> bool:
    _note_waiting(handing, "previewed")
    return True


def _note_waiting(handing: Handing, before: str) -> None:
    preview = journal_directory(handing.run, handing.dataset) / PREVIEW
    flow = handing.around.flow_run_id
    handing.note("waiting", before, flow_run_id=flow, preview=str(preview))


def _wait_for_a_person(handing: Handing) -> bool:
    flow = handing.around.flow_run_id
    if flow is not None and handing.attempt[-1].details.get("flow_run_id") != flow:
        _note_waiting(handing, "waiting")  # in the place of one that is gone
    days = handing.recipe.training.approval_days
    decision = handing.around.ask_decision(handing.delivery, days)
    if decision is None:
        return False
    with suppress(InputError):  # another one has decided in the meantime: that counts
        decide(handing.run, decision, handing.dataset)
    return True


def _start(handing: Handing) -> bool:
    check_still_offered(handing.run)
    approval = handing.attempt[-1]
    found = start_training(
        handing.recipe, handing.run, handing.delivery, handing.dataset, approval
    )  # fmt: skip
    flow = handing.around.flow_run_id
    note_triggered(handing.run, handing.dataset, {**found, "flow_run_id": flow})
    return True


def _wait_for_the_trainer(handing: Handing) -> bool:
    days = handing.recipe.training.training_days
    report = handing.around.ask_report(handing.delivery, days)
    if report is None:
        return False
    record_report(handing.run, report.model_copy(update={"delivery": handing.delivery}))
    return True


def _evaluate(handing: Handing) -> bool:
    model = str(handing.attempt[-1].details["model"])
    target = journal_directory(handing.run, handing.dataset) / "evaluation"
    results = evaluate_trained(handing.recipe, handing.run, handing.dataset, model, target)
    handing.note("evaluated", "done", results=str(results), model=model)
    return True


def _judge(handing: Handing) -> bool:
    found = handing.attempt[-1].details
    results = json.loads(Path(found["results"]).read_text())
    promotion = judge_promotion(results, handing.recipe.training.promote)
    page = describe_promotion(promotion)
    directory = journal_directory(handing.run, handing.dataset)
    with whole_file(str(directory / VERDICT)) as path:
        path.write_text(page)
    handing.around.publish("handoff-verdict", page)
    state = "promoted" if promotion.verdict == PROMOTE else "held"
    broken = "; ".join(f"{r.rule}: {r.figure}" for r in promotion.rulings if not r.holds)
    handing.note(
        state, "evaluated", reason=broken or "every rule holds", arm=promotion.arm,
        type=promotion.type, model=found["model"], rules=[asdict(r) for r in promotion.rulings],
    )  # fmt: skip
    return False


_STEPS: dict[str, Callable[[Handing], bool]] = {
    "requested": _verify,
    "verified": _verify,
    "previewed": _offer,
    "waiting": _wait_for_a_person,
    "approved": _start,
    "triggered": _wait_for_the_trainer,
    "running": _wait_for_the_trainer,
    "done": _evaluate,
    "evaluated": _judge,
}


@contextmanager
def _alone(run: Path, dataset: str) -> Iterator[None]:
    """One process carries a handoff on at a time; the kernel frees the lock when it dies."""
    lock = FileLock(journal_directory(run, dataset) / ".lock")
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout as error:
        raise InputError(
            "handoff", f"another process carries the handoff of {run} on", "wait for it"
        ) from error
    try:
        yield
    finally:
        lock.release()
