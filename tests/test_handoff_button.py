"""The handoff's page against a real Prefect server, worker and flow: asked for, decided, told."""

import os
import subprocess
import sys

import pytest
from catalog_server import TOKEN, client, form_token, sign_in
from prefect_server import ask, client_environment, prefect_server
from small_run import copy_run, small_recipe, small_run

from flows.report_back import accept_report
from flows.run import write_recipe
from pipeline.approval import decide as approve
from pipeline.approval import parse_decision
from pipeline.handoff_journal import dataset_fingerprint, read_journal, state_of
from pipeline.signed_delivery import REPORT, sign_delivery
from pipeline.training_report import delivery_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
OURS = {"origin": "http://localhost"}
PAGE = "/runs/small/handoff"
KEY = "the-key-of-a-trainer"


def work(recipe, environment):
    """`primer serve --once`: register the deployments, do what is due now, and end."""
    start = "from flows.main import primer; primer()"
    command = [sys.executable, "-c", start, "serve", str(recipe), "--no-schedules", "--once"]
    done = subprocess.run(
        command,
        check=False,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3_000:]


def press(browser, button, **fields):
    """Send the first form of the page, as a person would."""
    form = {"csrf": form_token(browser, PAGE), **fields}
    return browser.post(f"{PAGE}/{button}", data=form, headers=OURS)


def hidden(browser, name):
    """A hidden field of the page."""
    return browser.get(PAGE).text.partition(f'name="{name}" value="')[2].partition('"')[0]


def test_a_person_hands_over_from_the_page(tmp_path, monkeypatch):
    run = copy_run(tmp_path)
    write_recipe(small_recipe(small_run()["ingest"].path.parents[1] / "benchmark.jsonl"), run)
    monkeypatch.setenv("PRIMER_RUNS", str(tmp_path))
    monkeypatch.setenv("PRIMER_REPORT_KEY", KEY)
    home = tmp_path / ".prefect"
    with prefect_server(home) as api:
        browser = client(tmp_path, token=TOKEN, prefect_api_url=api, accept_report=accept_report)
        sign_in(browser)
        refused = press(browser, "start", by="Ada")
        assert refused.status_code == 503
        assert "knows no deployment" in refused.text
        assert read_journal(run) == []

        environment = client_environment(home, api)
        work(run / "recipe.yaml", environment)
        assert press(browser, "start", by="").status_code == 400
        assert press(browser, "start", by="Ada").status_code == 303
        assert press(browser, "start", by="Bo").status_code == 409
        work(run / "recipe.yaml", environment)
        assert [flow["state_name"] for flow in ask(api, "flow_runs/filter")] == ["Suspended"]
        page = browser.get(PAGE).text
        assert "What is shown for approval" in page
        assert "by Ada" in page
        assert press(browser, "go-on").headers["location"].endswith("?just=at-work")

        decide(browser, run)
        work(run / "recipe.yaml", environment)
        assert state_of(run).state == "triggered"
        assert len(ask(api, "flow_runs/filter")) == 1  # the flow that waited went on itself
        report(browser, run)
    gone = press(browser, "go-on")
    assert gone.status_code == 503
    assert "does not answer" in gone.text


def test_an_answer_that_the_flow_has_missed_wakes_it(tmp_path, monkeypatch):
    """It was decided while nobody could tell the flow, which waits for it still."""
    run = copy_run(tmp_path)
    write_recipe(small_recipe(small_run()["ingest"].path.parents[1] / "benchmark.jsonl"), run)
    monkeypatch.setenv("PRIMER_RUNS", str(tmp_path))
    home = tmp_path / ".prefect"
    with prefect_server(home) as api:
        browser = client(tmp_path, token=TOKEN, prefect_api_url=api)
        sign_in(browser)
        environment = client_environment(home, api)
        work(run / "recipe.yaml", environment)
        assert press(browser, "start", by="Ada").status_code == 303
        work(run / "recipe.yaml", environment)
        approve(run, parse_decision("approve", "Cy", "looks right"), dataset_fingerprint(run))
        assert press(browser, "go-on").headers["location"].endswith("?just=woken")
        work(run / "recipe.yaml", environment)
        assert state_of(run).state == "triggered"
        assert len(ask(api, "flow_runs/filter")) == 1


def decide(browser, run):
    """Approve with a name and a reason; of two decisions one counts."""
    why = "<b>looks right</b>"
    given = {"attempt": hidden(browser, "attempt"), "decision": "approve", "by": "Cy"}
    assert press(browser, "decide", **given, reason=" ").status_code == 400
    other = given | {"attempt": "x", "reason": why}
    assert press(browser, "decide", **other).status_code == 409
    assert press(browser, "decide", **given, reason=why).status_code == 303
    assert press(browser, "decide", **given, reason="again").status_code == 409
    assert "&lt;b&gt;looks right&lt;/b&gt;" in browser.get(PAGE).text
    approved = [e for e in read_journal(run) if e.state == "approved"]
    assert [(e.by, e.reason) for e in approved] == [("Cy", why)]


def report(browser, run):
    """What the trainer signs is taken once."""
    body = b'{"state": "running", "by": "gpu-7"}'
    signed = sign_delivery(REPORT, delivery_of(run), body, KEY)
    forged = {**signed, "X-Primer-Signature": "v1=" + "0" * 64}
    address = "/runs/small/report"
    assert browser.post(address, content=body, headers=forged).status_code == 401
    assert browser.post(address, content=body, headers=signed).json()["state"] == "running"
    assert browser.post(address, content=body, headers=signed).status_code == 401  # replayed
    assert "The trainer is at work" in browser.get(PAGE).text
