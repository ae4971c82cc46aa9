"""Cancelled from outside: no further call to the teacher, and what was paid for is kept."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from crowded_server import crowded_server
from dying_machine import Machine, free_port, postgres_bin
from kill_loop import start
from labelling_child import question
from prefect_server import ask, look

from pipeline.answers import Answers
from pipeline.manifest import read_manifest
from pipeline.teacher import Teacher

ANSWER_S = 0.2
AT_ONCE = 8
# As a flow of Prefect's: SIGTERM raises, in the main thread, what no `except Exception` takes.
CHILD = """
import signal, sys
sys.path.insert(0, {tests!r})
class Terminated(BaseException): pass
def rise(*_): raise Terminated
signal.signal(signal.SIGTERM, rise)
from labelling_child import _main
_main(*sys.argv[1:])
"""


@pytest.fixture
def server():
    with crowded_server() as server:
        server.seconds = ANSWER_S
        yield server


@pytest.fixture
def machine(server, tmp_path):
    if postgres_bin() is None:
        pytest.skip("PostgreSQL is not installed")
    with Machine(tmp_path, free_port(), silence_s=90) as machine:
        yield machine


def arrivals(server):
    return sorted(at for times in server.arrivals.values() for at in times)


@pytest.mark.long
def test_a_terminated_run_sends_no_more_and_pays_for_nothing_twice(server, tmp_path):
    texts = [f"document {i:03}" for i in range(80)]
    config = server.config(max_concurrency=AT_ONCE)
    store = tmp_path / "answers.sqlite"
    script = CHILD.format(tests=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store), config.model_dump_json(), json.dumps(texts)],
        cwd=Path(__file__).parents[1], stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        while server.answered < 3 * AT_ONCE:
            time.sleep(0.02)
        stopped_at = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        said = child.stderr.read().decode()
    assert said.rstrip().endswith("Terminated")
    assert arrivals(server)[-1] - stopped_at < 0.3
    assert time.monotonic() - stopped_at < ANSWER_S + 3
    with closing(Answers(store)) as answers:
        teacher = Teacher("label", config, config.base_url, answers)
        teacher.fetch([question(text) for text in texts], lambda *_, **__: None)
    assert {len(times) for times in server.arrivals.values()} == {1}  # what was in flight, too
    assert server.requests == len(texts)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cancelling_on_the_page_stops_the_calls_and_the_run_can_be_resumed(server, machine):
    server.seconds = 1.0
    recipe = machine.home / "cancelled.yaml"
    recipe.write_text(yaml.safe_dump(small_labelling(server)))
    machine.primer("serve", str(recipe), "--once", "--no-schedules")
    run = start(machine.api, "label/cancelled")
    wait_for(machine, run, lambda state: server.answered > 2 * AT_ONCE or state["type"] == "FAILED")
    at = time.monotonic()
    ask(machine.api, f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    state = wait_for(machine, run, lambda state: state["type"] in {"CANCELLED", "CRASHED"})
    assert state["type"] == "CANCELLED"
    sent, last_s = server.requests, arrivals(server)[-1] - at
    print(f"last request {last_s:.1f} s after the click, {sent} sent, ", end="")
    print(f"Cancelled after {time.monotonic() - at:.1f} s")
    assert last_s < 5
    assert "Cancelled, planned again" in machine.primer("resume", "cancelled")
    state = wait_for(machine, run, lambda state: state["type"] in {"COMPLETED", "FAILED"})
    assert state["type"] == "COMPLETED", state
    assert server.requests > sent  # it was stopped amid its questions
    assert {len(times) for times in server.arrivals.values()} == {1}
    sealed = read_manifest(machine.runs / "cancelled" / "03-label")
    machine.environment["PRIMER_RUNS"] = str(machine.home / "undisturbed")
    machine.primer("run", str(recipe), "--until", "label")
    undisturbed = read_manifest(machine.home / "undisturbed" / "cancelled" / "03-label")
    assert sealed.outputs_sha256 == undisturbed.outputs_sha256


def small_labelling(server):
    """A recipe whose labelling takes half a minute and the rest almost nothing."""
    source = {"name": "code", "address": "${stdlib}", "kind": "code", "licence": "PSF-2.0",
              "include": ["asyncio/*.py", "email/*.py", "json/*.py", "[a-d]*.py"],
              "exclude": ["*/*/*"]}  # fmt: skip
    return {
        "name": "cancelled", "ingest": {"sources": [source]}, "clean": {"workers": 1},
        "label": {"sample_size": 100},
        "teacher": {**server.config(max_concurrency=AT_ONCE).model_dump(mode="json")},
    }  # fmt: skip


def wait_for(machine, run, holds):
    """The state of a flow run once this holds of it."""
    over = time.monotonic() + 240
    while time.monotonic() < over:
        state = look(machine.api, f"flow_runs/{run}")["state"]
        if holds(state):
            return state
        time.sleep(0.05)
    raise AssertionError(state)
