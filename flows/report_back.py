"""A trainer reports, and what follows begins by itself: evaluation, then promote or hold.

`primer report` and the journey's own stage 11 call `report_back`; the catalog's address for reports
is given `accept_report`. Where no flow waits to be woken, a process of its own goes on.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.apart import start_apart
from flows.recipe import load_recipe
from flows.wake import go_on
from pipeline.errors import StageError
from pipeline.handoff_journal import Entry, dataset_fingerprint, journal_directory, state_of
from pipeline.manifest import read_manifest
from pipeline.training_report import (
    TrainingReport,
    check_report,
    delivery_of,
    expected_delivery,
    record_report,
)

log = logging.getLogger("primer")


def report_back(run: Path, report: TrainingReport, here: bool = False) -> Entry:
    """Put a report into the journal, and let the handoff go on where the training has ended."""
    entry = record_report(run, report)
    if not _something_follows(run, report):
        return entry
    return go_on(load_recipe(run / "recipe.yaml"), run, here)


def accept_report(run: Path, body: bytes, headers: Mapping[str, str]) -> Mapping[str, object]:
    """A signed report that came over the network: check it, keep it, go on; what to answer.

    Raises DeliveryError (answer 401) and InputError (answer 422). It is back at once: what follows
    is done by a process of its own, or by the flow that it wakes.
    """
    report = check_report(run, body, headers)
    entry = record_report(run, report)
    if _something_follows(run, report):
        start_apart("flows.report_back", run.resolve(), journal_directory(run) / "evaluation.log")
    return {"state": entry.state, "at": entry.at}


def _something_follows(run: Path, report: TrainingReport) -> bool:
    """Whether the training has ended, and was of the dataset that is sealed in the run now."""
    if report.state == "running":
        return False
    if report.delivery in {None, delivery_of(run)}:
        return True
    log.info("%s holds another dataset by now: the report is kept, and nothing follows", run)
    return False


@contextmanager
def reporting(run: Path) -> Iterator[None]:
    """Report how the run's own stage 11 goes, if the handoff of its dataset waits for that."""
    sealed = (run / "10-handoff" / "manifest.json").exists()
    delivery = expected_delivery(run) if sealed else None
    if delivery is None:
        yield
        return
    told = {"by": "stage 11", "delivery": delivery}
    entry = state_of(run)
    if entry is None or entry.state != "failed":  # where it is tried again its end counts alone
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


if __name__ == "__main__":
    try:
        directory = Path(sys.argv[1])
        go_on(load_recipe(directory / "recipe.yaml"), directory)
    except StageError as failure:
        sys.stderr.write(f"primer: {failure}\n")
        sys.exit(failure.exit_code)
