"""A trainer reports, and what follows begins by itself: evaluation, then promote or hold.

`primer report` and the journey's own stage 11 call `report_back`; the catalog's address for reports
is given `accept_report`. Where no flow waits to be woken, a process of its own goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.apart import start_apart
from flows.recipe import load_recipe
from flows.wake import go_on
from pipeline.errors import InputError, StageError
from pipeline.handoff_journal import Entry, dataset_fingerprint, journal_directory, state_of
from pipeline.manifest import read_manifest
from pipeline.training_report import TrainingReport, check_report, delivery_of, record_report


def report_back(run: Path, report: TrainingReport, here: bool = False) -> Entry:
    """Put a report into the journal, and let the handoff go on where the training has ended."""
    entry = record_report(run, report)
    if entry.state == "running":
        return entry
    return go_on(load_recipe(run / "recipe.yaml"), run, report, here)


def accept_report(run: Path, body: bytes, headers: Mapping[str, str]) -> Mapping[str, object]:
    """A signed report that came over the network: check it, keep it, go on; what to answer.

    Raises DeliveryError (answer 401) and InputError (answer 422). It is back at once: what follows
    is done by a process of its own, or by the flow that it wakes.
    """
    entry = record_report(run, check_report(run, body, headers))
    if entry.state != "running":
        start_apart("flows.report_back", run.resolve(), journal_directory(run) / "evaluation.log")
    return {"state": entry.state, "at": entry.at}


@contextmanager
def reporting(run: Path) -> Iterator[None]:
    """Report how the run's own stage 11 goes, if the handoff of its dataset waits for that."""
    delivery = _expected(run)
    if delivery is None:
        yield
        return
    told = {"by": "stage 11", "delivery": delivery}
    record_report(run, TrainingReport.model_validate({**told, "state": "running"}))
    try:
        yield
    except Exception as error:
        failed = {**told, "state": "failed", "reason": str(error)[:4_096]}
        report_back(run, TrainingReport.model_validate(failed))
        raise
    trained = read_manifest(run / "11-train")
    if trained is not None and trained.needs.get("handoff") == dataset_fingerprint(run):
        report_back(run, TrainingReport.model_validate({**told, "state": "done"}))


def _expected(run: Path) -> str | None:
    """The delivery that the handoff waits for; None where it waits for none."""
    entry = state_of(run) if (run / "10-handoff" / "manifest.json").exists() else None
    if entry is None or entry.state not in {"triggered", "running", "failed"}:
        return None
    return delivery_of(run)


def main(run: Path) -> None:
    """Go on with the handoff of a run, and wake the flow that waits for what was reported."""
    entry = state_of(run)
    if entry is None:
        raise InputError("handoff", f"no handoff of {run} was asked for", "primer handoff RUN")
    report = None
    if entry.state in {"done", "failed"}:
        report = TrainingReport.model_validate({
            "state": entry.state, "by": entry.by, "model": entry.details.get("model"),
            "reason": entry.reason,
        })  # fmt: skip
    go_on(load_recipe(run / "recipe.yaml"), run, report)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except StageError as failure:
        sys.stderr.write(f"primer: {failure}\n")
        sys.exit(failure.exit_code)
