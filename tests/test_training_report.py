"""What a trainer reports: of this attempt, said once, and only by who holds the key."""

import json

import pytest
from offered_run import YES, make_run, offered, started, states

from flows.report_back import reporting
from pipeline.approval import decide
from pipeline.errors import InputError
from pipeline.handoff_journal import state_of
from pipeline.signed_delivery import REPORT, DeliveryError, sign_delivery
from pipeline.training_report import TrainingReport, check_report, delivery_of, record_report


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
    with pytest.raises(MemoryError), reporting(run):
        raise MemoryError("out of memory")
    assert states(run)[-2:] == ["running", "failed"]
    assert (state_of(run).state, state_of(run).reason) == ("failed", "out of memory")
