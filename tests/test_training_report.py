"""What a trainer reports: of this attempt, said once, and only by who holds the key."""

import json

import pytest
from offered_run import YES, make_run, offered, started, states

from flows.report_back import report_back, reporting
from pipeline.approval import decide
from pipeline.errors import InputError
from pipeline.handoff_journal import append_entry, dataset_fingerprint, read_journal, state_of
from pipeline.manifest import read_manifest, write_manifest
from pipeline.offer import request_handoff
from pipeline.signed_delivery import REPORT, DeliveryError, sign_delivery
from pipeline.training_report import (
    TrainingReport,
    check_report,
    delivery_of,
    parse_report,
    record_report,
)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def test_a_report_is_of_this_attempt_and_said_once(run):
    started(run)
    told = {"by": "gpu-7", "delivery": delivery_of(run)}
    running = TrainingReport.model_validate({**told, "state": "running"})
    assert record_report(run, running) == record_report(run, running)
    with pytest.raises(InputError, match="no model is named"):
        record_report(run, TrainingReport.model_validate({**told, "state": "done"}))
    for wrong in ("0123456789abcdef-1", told["delivery"][:-1] + "2", "../../x-1"):
        late = running.model_copy(update={"delivery": wrong})
        with pytest.raises(InputError, match="is not one that the handoff"):
            record_report(run, late)
    assert states(run)[-2:] == ["triggered", "running"]


def test_a_report_that_overtakes_the_trigger_counts(run):
    offered(run)
    decide(run, YES)  # the webhook is out, and its answer is not here yet
    told = {"by": "gpu-7", "state": "running", "delivery": delivery_of(run)}
    record_report(run, TrainingReport.model_validate(told))
    assert states(run)[-3:] == ["approved", "triggered", "running"]


def test_a_signed_report_is_taken_once(run, monkeypatch):
    started(run)
    body = json.dumps({"state": "running", "by": "gpu-7", "delivery": delivery_of(run)}).encode()
    headers = sign_delivery(REPORT, delivery_of(run), body, "a key")
    with pytest.raises(InputError, match="PRIMER_REPORT_KEY holds no key"):
        check_report(run, body, headers)
    monkeypatch.setenv("PRIMER_REPORT_KEY", "a key")
    assert check_report(run, body, headers).by == "gpu-7"
    with pytest.raises(DeliveryError, match="used before"):
        check_report(run, body, headers)
    body = b'{"state": "sold", "by": "x"}'
    with pytest.raises(InputError, match="state: input should be"):
        check_report(run, body, sign_delivery(REPORT, "x", body, "a key"))


def test_the_journeys_own_stage_reports_where_a_handoff_waits_for_it(run, monkeypatch):
    monkeypatch.setattr("flows.wake.has_server", lambda: False)
    with reporting(run):  # nobody waits: nothing is written
        pass
    assert states(run) == []
    started(run)
    for _ in range(2):  # the second time as somebody starts it again
        with pytest.raises(MemoryError), reporting(run):
            raise MemoryError("out of memory")
        assert states(run)[-3:] == ["triggered", "running", "failed"]
    assert (state_of(run).state, state_of(run).reason) == ("failed", "out of memory")


def test_what_was_never_approved_cannot_be_done(run):
    request_handoff(run, by="Bo")
    append_entry(run, "failed", reason="it does not verify: a byte was flipped")
    with pytest.raises(InputError, match="is failed: it cannot be done"):
        record_report(run, TrainingReport(state="done", by="gpu-7", model="/models/x"))
    with reporting(run):
        pass
    assert states(run) == ["requested", "failed"]


def test_a_report_of_a_dataset_that_is_gone_is_kept_and_starts_nothing(run, monkeypatch):
    monkeypatch.setattr("flows.wake.has_server", lambda: False)
    started(run)
    delivery, before = delivery_of(run), dataset_fingerprint(run)
    anew = read_manifest(run / "10-handoff").model_copy(update={"fingerprint": "0" * 64})
    write_manifest(run / "10-handoff", anew)
    report_back(run, TrainingReport(state="done", by="gpu-7", model="/x", delivery=delivery))
    assert state_of(run, before).state == "done"
    assert read_journal(run) == []


@pytest.mark.parametrize(("field", "given"), [("by", ""), ("reason", "x" * 5_000)])
def test_what_is_no_report_is_refused_in_a_line(field, given):
    with pytest.raises(InputError, match=f"report: {field}: string should have at"):
        parse_report({"state": "failed", "by": "gpu-7", field: given})
