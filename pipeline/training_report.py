"""What a trainer reports: it runs, it is done and the model lies there, or it failed.

By command on the machine of the run, or by a signed POST (`signed_delivery`) whose body is

    {"state": "done", "by": "gpu-7", "model": "/models/x", "reason": null, "delivery": "<id>"}

`delivery` is the id that the trigger gave: a late report of an earlier attempt changes nothing.
Reporting the same thing twice is no error and no second entry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.approval import Decision
from pipeline.environment import secret
from pipeline.errors import InputError
from pipeline.handoff_journal import (
    Entry,
    append_entry,
    attempt_of,
    dataset_fingerprint,
    journal_directory,
    last_with,
    read_journal,
)
from pipeline.signed_delivery import REPORT, Deliveries, check_delivery
from pipeline.training_config import read_training_config

_AFTER = {
    "running": {"triggered", "running"},
    "done": {"triggered", "running", "failed"},
    "failed": {"triggered", "running"},
}


class TrainingReport(BaseModel):
    """One report; `model` is a must when it is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["running", "done", "failed"]
    by: str = Field(min_length=1, max_length=200)
    model: str | None = Field(None, max_length=4_096)
    reason: str | None = Field(None, max_length=4_096)
    delivery: str | None = Field(None, max_length=128)


def delivery_of(run: Path, fingerprint: str | None = None) -> str:
    """The id of the attempt that the journal is at: dataset and how many times it was asked for."""
    found = fingerprint or dataset_fingerprint(run)
    asked = [entry for entry in read_journal(run, found) if entry.state == "requested"]
    return f"{found[:16]}-{len(asked)}"


def expected_delivery(run: Path) -> str | None:
    """The attempt whose training may report; None where none was started, or it has been judged."""
    dataset = dataset_fingerprint(run)
    attempt = attempt_of(read_journal(run, dataset))
    if last_with(attempt, "triggered") is None:
        return None
    is_open = attempt[-1].state in {"triggered", "running", "failed"}
    return delivery_of(run, dataset) if is_open else None


def parse_report(told: Mapping[str, object] | bytes) -> TrainingReport:
    """A report from its fields, or from JSON; InputError where it is none."""
    try:
        if isinstance(told, bytes):
            return TrainingReport.model_validate_json(told)
        return TrainingReport.model_validate(told)
    except ValidationError as error:
        (wrong, *_) = error.errors(include_url=False)
        where = ".".join(map(str, wrong["loc"])) or "the body"
        raise InputError("report", f"{where}: {wrong['msg'].lower()}", "correct it") from error


def check_report(run: Path, body: bytes, headers: Mapping[str, str]) -> TrainingReport:
    """The report that came over the network, if a holder of the key sent it, and sent it now.

    Raises DeliveryError (answer 401) where not, and InputError (answer 422) where it is none.
    """
    variable = read_training_config(run).report_key_variable
    key = secret(variable)
    if key is None:
        raise InputError("report", f"{variable} holds no key", f"export {variable}")
    store = Deliveries(journal_directory(run) / "reports.sqlite")
    check_delivery(REPORT, headers, body, key, store)
    return parse_report(body)


def record_report(run: Path, report: TrainingReport) -> Entry:
    """Put a report into the journal and return its entry, or the one that said the same before."""
    dataset = _dataset_of(run, report)
    attempt = attempt_of(read_journal(run, dataset))
    model = report.model or (_stage_model(run) if report.state == "done" else None)
    if attempt and attempt[-1].state == "approved" and report.delivery is not None:
        note_triggered(run, dataset, {"delivery": report.delivery})  # it was faster than we
    same = last_with(attempt, report.state)
    if same is not None and same.details.get("model") == model and _nothing_new(attempt, report):
        return same
    after = _AFTER[report.state]
    if last_with(attempt, "triggered") is None:  # it failed before anybody had approved it
        after = after - {"failed"}
    return append_entry(
        run, report.state, by=report.by, reason=report.reason, fingerprint=dataset,
        details={"model": model} if model else {}, after=after,
    )  # fmt: skip


def note_triggered(run: Path, dataset: str, details: Mapping[str, Any]) -> None:
    """Put down that the training was started, unless a report has been here first."""
    with suppress(InputError):
        append_entry(
            run, "triggered", details=details, after={"approved"}, fingerprint=dataset
        )  # fmt: skip


def _dataset_of(run: Path, report: TrainingReport) -> str:
    """The dataset that was trained on: that of the delivery's id, else the sealed one."""
    if report.delivery is None:
        return dataset_fingerprint(run)
    dataset, _, _ = report.delivery.partition("-")
    known = re.fullmatch(r"[0-9a-f]{16}-[0-9]{1,6}", report.delivery, re.ASCII)
    if not known or delivery_of(run, dataset) != report.delivery:
        raise InputError(
            "report", f"delivery {report.delivery!r} is not one that the handoff of {run} is at",
            "report with the id that the trigger gave, or ask for the handoff --again",
        )  # fmt: skip
    return dataset


def _nothing_new(attempt: Sequence[Entry], report: TrainingReport) -> bool:
    """Whether the journal stands at this state, or (once done) already beyond it."""
    now = attempt[-1].state
    return now == report.state or (
        report.state != "failed" and now in {"done", "evaluated", "promoted", "held"}
    )


def _stage_model(run: Path) -> str:
    """The models of the run's own stage 11, where the trainer was the journey itself."""
    directory = run / "11-train"
    if not (directory / "manifest.json").exists():
        raise InputError("report", "done, but no model is named", "give --model DIR")
    return str(directory.resolve())


def answer_of(entry: Entry) -> Decision | TrainingReport | None:
    """What an entry says, as the input that a suspended flow waits for; None where it is none."""
    if entry.state in {"approved", "rejected"}:
        decision = "approve" if entry.state == "approved" else "reject"
        told: dict[str, Any] = {"decision": decision, "by": entry.by, "reason": entry.reason}
        return Decision.model_validate(told)
    if entry.state in {"done", "failed"} and entry.by is not None:  # else no trainer said so
        told = {"state": entry.state, "by": entry.by, "reason": entry.reason}
        return TrainingReport.model_validate({**told, "model": entry.details.get("model")})
    return None
