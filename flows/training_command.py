"""A training command that outlives whoever started it: run, watch, and note how it ended.

    python -m flows.training_command JOURNAL/training-1.json

is started in a session of its own, so that the end of the flow, the worker or the terminal does
not end it. The command's arguments go to the kernel as they are: no shell ever reads them. For
each attempt one such process at most works, and it starts the command at most once: a lock shows
that it lives, a file written before the start shows that it was. If it dies with the command, how
that ended is unknown, and the attempt counts as failed: `primer handoff RUN --again` starts anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flows.apart import start_apart
from pipeline.addresses import whole_file
from pipeline.errors import InputError, StageError


def start_command(
    order: Path, arguments: list[str], run: Path, delivery: str, model: str | None
) -> dict[str, Any]:
    """Write the order and start the process that carries it out; returns what to put down."""
    log = order.with_suffix(".log")
    if not order.exists():  # tried again, the first order holds
        with whole_file(str(order)) as path:
            path.write_text(json.dumps({
                "arguments": arguments, "run": str(run.resolve()), "delivery": delivery,
                "model": model, "log": str(log),
            }, indent=1))  # fmt: skip
    pid = start_apart("flows.training_command", order, log)
    return {"arguments": arguments, "log": str(log), "order": str(order), "pid": pid}


def was_lost(order: Path) -> bool:
    """Whether the command was started and nobody watches it; one that never was is started now."""
    try:
        with FileLock(order.with_suffix(".lock"), timeout=0):
            started = order.with_suffix(".started").exists()
    except Timeout:
        return False
    if not started:
        start_apart("flows.training_command", order, order.with_suffix(".log"))
    return started


def carry_out(order: Path) -> None:
    """Run the command of an order, unless it was started before, and report how it ended."""
    try:
        with FileLock(order.with_suffix(".lock"), timeout=0):
            told = json.loads(order.read_text())
            started = order.with_suffix(".started")
            if started.exists():  # and whoever started it is gone
                _report(told, "failed", "its end was not seen: who watched it was killed")
            else:
                _mark(started)
                _run(told)
    except Timeout:
        return  # another one does


def _run(told: Mapping[str, Any]) -> None:
    with open(told["log"], "ab") as log:
        try:
            process = subprocess.Popen(
                told["arguments"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        except OSError as error:
            _report(told, "failed", f"{told['arguments'][0]}: {error.strerror}")
            return
        _report(told, "running", f"process {process.pid}")
        code = process.wait()
    if code == 0:
        _report(told, "done", "exit code 0")
    else:
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        _report(told, "failed", f"{ended}; see {told['log']}")


def _report(told: Mapping[str, Any], state: str, reason: str) -> None:
    """Put it into the journal; where the command has reported its end by itself, that counts."""
    from flows.report_back import report_back
    from pipeline.training_report import TrainingReport

    report = TrainingReport.model_validate({
        "state": state, "by": "command", "reason": reason, "delivery": told["delivery"],
        "model": told["model"] if state == "done" else None,
    })  # fmt: skip
    try:
        report_back(Path(told["run"]), report)
    except InputError as error:  # it ended already, or a new attempt was asked for
        sys.stderr.write(f"primer: {error}\n")


def _mark(path: Path) -> None:
    with path.open("x") as file:
        file.write(f"{os.getpid()}\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    try:
        carry_out(Path(sys.argv[1]))
    except StageError as failure:
        sys.stderr.write(f"primer: {failure}\n")
        sys.exit(failure.exit_code)
