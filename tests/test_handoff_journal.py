"""The journal on a real disk: in order, whole after a crash, and one decision of two at once."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.approval import Decision, decide, parse_decision
from pipeline.errors import InputError, StageError
from pipeline.handoff_journal import (
    JOURNAL,
    append_entry,
    attempt_of,
    dataset_fingerprint,
    journal_directory,
    last_with,
    read_journal,
    state_of,
)
from pipeline.handoff_record import HANDOFF
from pipeline.offer import may_request, request_handoff

YES = Decision(decision="approve", by="Ada", reason="the card convinced me")


@pytest.fixture
def run(bench):
    """A run whose sealed handoff is an empty record: the journal asks for its fingerprint alone."""
    bench.put(10, "handoff", lambda out: (out / HANDOFF).write_text("{}"))
    bench.make(bench.stages.pop())
    return bench.run


def journal(run):
    return journal_directory(run) / JOURNAL


def test_entries_come_back_in_order_with_all_that_was_said(run):
    assert state_of(run) is None
    append_entry(run, "requested", by="Bo")
    told = {"flow_run_id": None, "preview": "p.md", "text": "línea\u2028two"}
    append_entry(run, "waiting", details=told)
    assert [entry.state for entry in read_journal(run)] == ["requested", "waiting"]
    last = state_of(run)
    assert last.details == told
    assert last.at.endswith("+00:00")
    assert journal(run).parent == run / "handoffs" / dataset_fingerprint(run)[:16]
    assert read_journal(run, "another dataset") == []


def test_a_line_that_a_crash_cut_short_never_counted(run):
    append_entry(run, "requested", by="Bo")
    with journal(run).open("a") as file:
        file.write('{"at": "2026-01-01", "state": "appro')
    assert state_of(run).state == "requested"
    append_entry(run, "verified", after={"requested"})
    assert [entry.state for entry in read_journal(run)] == ["requested", "verified"]
    assert all(json.loads(line) for line in journal(run).read_text().splitlines())


def test_a_damaged_line_is_named_and_nothing_is_added_after_it(run):
    append_entry(run, "requested", by="Bo")
    append_entry(run, "verified")
    text = journal(run).read_text()
    journal(run).write_text(text.replace('"state"', '"st', 1))
    with pytest.raises(StageError, match="line 1 is damaged"):
        append_entry(run, "waiting")
    assert journal(run).read_text().count("\n") == 2


def test_a_run_without_a_handoff_has_no_fingerprint(tmp_path):
    with pytest.raises(InputError, match="no sealed handoff"):
        dataset_fingerprint(tmp_path)


def _decide(run, start, index, out):
    start.wait()
    try:
        decide(Path(run), YES.model_copy(update={"by": f"person {index}"}))
        out.put(index)
    except InputError:
        out.put(None)


def test_of_many_who_decide_at_once_one_does(run):
    append_entry(run, "waiting")
    context = multiprocessing.get_context("fork")
    start, out = context.Event(), context.Queue()
    people = [context.Process(target=_decide, args=(str(run), start, i, out)) for i in range(6)]
    for person in people:
        person.start()
    start.set()
    decided = [out.get(timeout=60) for _ in people]
    for person in people:
        person.join()
    (winner,) = [index for index in decided if index is not None]
    assert [entry.by for entry in read_journal(run)] == [None, f"person {winner}"]


@pytest.mark.parametrize(
    ("by", "reason", "named"), [(None, "why", "by"), ("  ", "why", "by"), ("Ada", "\t", "reason")]
)
def test_a_decision_has_a_name_and_a_reason(by, reason, named):
    with pytest.raises(InputError, match=rf"handoff: {named} = .*--by NAME and --reason TEXT"):
        parse_decision("approve", by, reason)


def test_what_does_not_wait_cannot_be_decided(run):
    request_handoff(run, by="Bo")
    with pytest.raises(InputError, match="is requested: it cannot be approved"):
        decide(run, YES)


def test_the_same_dataset_begins_once_and_again_only_with_a_reason(run):
    assert may_request(run)
    request_handoff(run, by="Bo")
    assert not may_request(run)
    with pytest.raises(InputError, match="cannot be requested"):
        request_handoff(run, by="Cy")
    with pytest.raises(InputError, match="is for one that has ended"):
        request_handoff(run, by="Cy", again="I want it")
    append_entry(run, "verified")
    append_entry(run, "rejected", by="Ada", reason="licences")
    assert not may_request(run)
    entry = request_handoff(run, by="Cy", again="licences are settled")
    assert (entry.reason, entry.details) == ("licences are settled", {"again": True})
    assert [one.state for one in attempt_of(read_journal(run))] == ["requested"]


def test_a_dataset_that_did_not_verify_may_be_asked_for_again(run):
    request_handoff(run, by="Bo")
    append_entry(run, "failed", reason="a byte was flipped")
    assert may_request(run)
    assert last_with(read_journal(run), "failed").reason == "a byte was flipped"


@pytest.mark.long
def test_a_writer_that_is_killed_leaves_a_journal_of_whole_entries(run):
    """Killed at a random moment, five times over; what it said it had written is there."""
    script = (
        "import sys; from pathlib import Path; from pipeline.handoff_journal import append_entry\n"
        "i = int(sys.argv[2])\n"
        "while True:\n"
        "    append_entry(Path(sys.argv[1]), 'running', details={'i': i, 'fill': 'x' * 5000})\n"
        "    print(i, flush=True); i += 1"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    last = -1
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(run), str(last + 1)],
            stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        with child:
            child.stdout.readline()
            time.sleep(0.05)
            child.send_signal(signal.SIGKILL)
            said = [int(line) for line in child.stdout.read().split() if line.isdigit()]
        written = [entry.details["i"] for entry in read_journal(run)]
        assert written == list(range(len(written)))
        last = written[-1]
        assert not said or last >= said[-1]
