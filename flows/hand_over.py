"""`primer handoff RUN`: ask for a handoff, decide one that waits, or see how it stands.

The command can be given again at any time: it goes on with what was begun, and starts no second
training for the same dataset. With a Prefect server and the deployment `handoff/<recipe>` a flow
does the work and waits; without, this process does, and what waits is the journal alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from flows.recipe import Recipe, load_recipe
from flows.report_back import report_back
from flows.run import write_recipe
from flows.wake import flow_run_of, go_on, has_server
from pipeline.approval import decide, parse_decision
from pipeline.environment import user_name
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.handoff_journal import (
    Entry,
    attempt_of,
    dataset_fingerprint,
    journal_directory,
    last_with,
    read_journal,
    state_of,
)
from pipeline.offer import ENDED, make_offer, may_request, request_handoff
from pipeline.training_report import delivery_of, parse_report

_POLL_S = 2.0
_NEXT = {
    "requested": "a flow verifies it, or: the same command again",
    "waiting": "primer handoff {run} --approve --by NAME --reason TEXT (or --reject)",
    "approved": "the training is started; if not: the same command again",
    "triggered": "the trainer reports, or: primer report {run} --state done --model DIR --by NAME",
    "running": "the trainer reports, or: primer report {run} --state done --model DIR --by NAME",
    "done": "it is evaluated; if not: the same command again",
    "evaluated": "it is judged; if not: the same command again",
    "rejected": "primer handoff {run} --again --reason TEXT offers it anew",
    "failed": "primer handoff {run} --again --reason TEXT offers it anew",
}


def hand_over(
    run: str, approve: bool = False, reject: bool = False, by: str | None = None,
    reason: str | None = None, again: bool = False, wait: bool = False, dry_run: bool = False,
    here: bool = False, changes: Sequence[str] = (),
) -> None:  # fmt: skip
    """Do what the command's options ask for, and print how the handoff stands."""
    from flows.main import find_run

    if approve + reject + again + dry_run > 1:
        raise InputError(
            "handoff", "--approve, --reject, --again and --dry-run", "give one of them"
        )  # fmt: skip
    directory = find_run(run)
    dataset_fingerprint(directory)  # says in one line that there is none
    recipe = _changed_recipe(directory, changes, may_begin=again or dry_run)
    if dry_run:
        click.echo(_preview(recipe, directory))
        return
    if approve or reject:
        _decide(recipe, directory, "approve" if approve else "reject", by, reason, here)
    elif again or may_request(directory):
        _begin(recipe, directory, by, reason if again else None, again, here)
    else:
        _go_on(recipe, directory, here)
    if wait:
        _wait(directory, here)
    _print_state(directory)


def report(
    run: str, state: str, model: str | None, by: str, reason: str | None, delivery: str | None,
    here: bool = False,
) -> None:  # fmt: skip
    """`primer report`: what a trainer says, and what follows from it."""
    from flows.main import find_run

    directory = find_run(run)
    where = str(Path(model).resolve()) if model is not None and Path(model).exists() else model
    told = {"state": state, "model": where, "by": by, "reason": reason, "delivery": delivery}
    report_back(directory, parse_report(told), here)
    _print_state(directory)


def _changed_recipe(run: Path, changes: Sequence[str], may_begin: bool) -> Recipe:
    """The recipe of the run; changes of its training section are kept there."""
    if not changes:
        return load_recipe(run / "recipe.yaml")
    wrong = [change for change in changes if not change.strip().startswith("training.")]
    if wrong:
        raise InputError("handoff", f"--set {wrong[0]!r}", "only training.* decides a handoff")
    if not (may_begin or may_request(run)):
        raise InputError(
            "handoff", "--set while a handoff is under way", "decide it first, or begin --again"
        )
    recipe = load_recipe(run / "recipe.yaml", changes)
    write_recipe(recipe, run)
    return recipe


def _preview(recipe: Recipe, run: Path) -> str:
    from flows.trigger import describe_trigger

    starts = describe_trigger(recipe, run, delivery_of(run), dataset_fingerprint(run))
    return make_offer(run, recipe.training, recipe.handoff.key_variable, starts).preview


def _begin(
    recipe: Recipe, run: Path, by: str | None, reason: str | None, again: bool, here: bool
) -> None:
    if again and not (reason and reason.strip()):
        raise InputError("handoff", "--again needs a reason", "give --reason TEXT")
    request_handoff(run, by=by or user_name(), again=reason)
    go_on(recipe, run, here)


def _decide(
    recipe: Recipe, run: Path, decision: str, by: str | None, reason: str | None, here: bool
) -> None:
    found = parse_decision(decision, by, reason)
    flow = flow_run_of(attempt_of(read_journal(run)))
    if flow is not None and not here and not has_server():
        raise InputError(
            "handoff", f"the flow run {flow} waits on a Prefect server that is not configured here",
            "set PREFECT_API_URL, or go on without it: --here",
        )  # fmt: skip
    decide(run, found)
    go_on(recipe, run, here)


def _go_on(recipe: Recipe, run: Path, here: bool) -> None:
    """What was begun goes on; a training that does not report is asked after."""
    if not _ask_after_training(run, here) and _state(run).state not in ENDED:
        go_on(recipe, run, here)


def _ask_after_training(run: Path, here: bool) -> bool:
    """Whether the training has something new to say, which is in the journal then."""
    from flows.trigger import ask_after

    entry = _state(run)
    if entry.state not in {"triggered", "running"}:
        return False
    started = last_with(attempt_of(read_journal(run)), "triggered")
    found = ask_after(started) if started is not None else None
    if found is None or found.state == entry.state:
        return False
    report_back(run, found, here)
    return True


def _wait(run: Path, here: bool) -> None:
    """Until the handoff has ended; StoppedError where it was rejected, StageError if it failed."""
    first = _state(run)
    while (entry := _state(run)).state not in ENDED:
        if entry != first and "trouble" in entry.details:
            raise StageError("handoff", entry.details["trouble"], "then: the same command again")
        time.sleep(_POLL_S)
        _ask_after_training(run, here)
    if entry.state in {"rejected", "failed"}:
        _print_state(run)
    if entry.state == "rejected":
        raise StoppedError("handoff", f"rejected by {entry.by}: {entry.reason}", "see its journal")
    if entry.state == "failed":
        raise StageError("handoff", f"it failed: {entry.reason}", "see its journal")


def _state(run: Path) -> Entry:
    entry = state_of(run)
    assert entry is not None
    return entry


def _print_state(run: Path) -> None:
    """The state, who and why, what comes next, and where the journal lies."""
    entries, entry = read_journal(run), _state(run)
    asked = sum(one.state == "requested" for one in entries)
    click.echo(f"{run.name}: {entry.state} since {entry.at} (attempt {asked})")
    if entry.by or entry.reason:
        click.echo(f"  by {entry.by or 'Primer'}: {entry.reason or 'no reason given'}")
    if "trouble" in entry.details:
        click.echo(f"  trouble: {entry.details['trouble']}")
    flow = flow_run_of(attempt_of(entries))
    if flow is not None:
        click.echo(f"  flow run: {flow}")
    known: dict[str, Any] = {}
    for one in attempt_of(entries):
        known |= one.details
    for name in ("preview", "deployment", "log", "url", "model", "results"):
        if name in known:
            click.echo(f"  {name}: {known[name]}")
    if entry.state in _NEXT:
        click.echo(f"  next: {_NEXT[entry.state].format(run=run.name)}")
    click.echo(f"  journal: {journal_directory(run) / 'journal.jsonl'}")
