"""The handoff as a flow, on a real Prefect server with a real worker, both killed on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect_server import ask, client_environment, look
from small_run import copy_run, small_recipe, small_run

from flows.recipe import parse_recipe
from flows.run import write_recipe
from flows.server import persistent_server
from pipeline.handoff_journal import journal_directory, last_with, read_journal, state_of
from pipeline.signed_delivery import HANDOFF, Deliveries, check_delivery

ROOT = Path(__file__).resolve().parents[1]
YES = {"decision": "approve", "by": "Ada", "reason": "the card convinced me"}
TINY = {"layers": 1, "feed_forward": 256, "sequence_tokens": 64, "sequences_per_step": 2,
        "steps": 5, "checkpoint_steps": 5, "arms": ["raw", "kept+synthetic"]}  # fmt: skip
QUICK = {"context_tokens": 64, "max_validation_bytes": 10_000, "prompt_tokens": 16,
         "decode_tokens": 8, "repetitions": 1, "likeness": None, "depths": [0]}  # fmt: skip
LENIENT = {"min_improvement_bits_per_byte": None, "max_lost_bits_per_byte": 8}
PATIENCE_S = 400  # on a busy machine a flow run starts half a minute after it was asked for
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


class Place:
    """A Prefect server and a worker of one's own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.home, self.runs, self.folder = folder / "prefect", folder / "runs", folder
        self.api, self.port = "", 0
        self.server, self.worker = ExitStack(), None

    @property
    def environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
        return plain | client_environment(self.home, self.api) | {
            "PRIMER_RUNS": str(self.runs), "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PRIMER_WEBHOOK_KEY": "a key",
        }  # fmt: skip

    def start_server(self) -> None:
        self.api = self.server.enter_context(
            persistent_server(self.home, self.port, with_page=False)
        )
        self.port = int(self.api.split(":")[2].split("/")[0])

    def start_worker(self) -> None:
        """And wait until it works: while it registers, SQLite turns other writers away (503)."""
        command = self.primer("serve", str(self.folder / "recipe.yaml"), "--no-schedules")
        told = self.folder / "worker.log"
        with told.open("ab") as log:
            before = told.read_text().count("started!")
            self.worker = subprocess.Popen(
                command, env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )
        self.wait_for("a worker", lambda: told.read_text().count("started!") > before)

    def kill_worker(self) -> None:
        """With the flow runs that it has started, which have sessions of their own."""
        if self.worker is None:
            return
        self.worker.kill()
        self.worker.wait()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # ended in the meantime
                environment = (process / "environ").read_bytes()
                ours = f"PRIMER_RUNS={self.runs}\0".encode() in environment
                if ours and b"PREFECT__FLOW_RUN_ID=" in environment:
                    os.kill(int(process.name), signal.SIGKILL)

    def primer(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from flows.main import primer; primer()", *arguments]

    def run_primer(self, *arguments: str) -> str:
        done = subprocess.run(
            self.primer(*arguments), env=self.environment, cwd=ROOT, capture_output=True,
            text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_flow(self) -> str:
        """As the web interface does."""
        found = look(self.api, "deployments/name/handoff/small")
        return ask(self.api, f"deployments/{found['id']}/create_flow_run")["id"]

    def state(self, flow_run: str) -> str:
        return look(self.api, f"flow_runs/{flow_run}")["state_name"]

    def wait_for(self, what: str, found: Callable[[], object]) -> None:
        over = time.monotonic() + PATIENCE_S
        while not found():
            assert time.monotonic() < over, f"{what}\n{(self.folder / 'worker.log').read_text()}"
            time.sleep(0.3)


@pytest.fixture
def place(tmp_path) -> Iterator[Place]:
    made = Place(tmp_path)
    made.runs.mkdir()
    copy_run(made.runs)
    yield made
    made.kill_worker()
    made.server.close()


def set_up(place: Place, **training: object) -> Path:
    """The recipe of the copied run with this training section; server and worker are started."""
    benchmark = small_run()["ingest"].path.parents[1] / "benchmark.jsonl"
    fields = small_recipe(benchmark).model_dump(mode="json", exclude_unset=True)
    recipe = parse_recipe(
        fields | {"train": TINY, "quantize": {"types": ["Q8_0"]}, "evaluate": QUICK,
                  "training": {"promote": LENIENT, **training}}
    )  # fmt: skip
    run = place.runs / "small"
    write_recipe(recipe, run)
    (place.folder / "recipe.yaml").write_text((run / "recipe.yaml").read_text())
    place.start_server()
    place.start_worker()
    return run


def wait_until_suspended(place: Place, run: Path, flow_run: str, state: str) -> None:
    place.wait_for(f"{state} in the journal", lambda: state_name(run) == state)
    place.wait_for("suspended", lambda: place.state(flow_run) == "Suspended")


def state_name(run: Path) -> str | None:
    entry = state_of(run)
    return None if entry is None else entry.state


def test_it_waits_through_restarts_and_invalid_answers_and_ends_with_a_verdict(place):
    """Suspended; server and worker killed; approved by REST; a command trains; judged."""
    sets = [
        part for name, value in TINY.items() if name not in {"arms", "checkpoint_steps"}
        for part in ("--set", f"{name}={value}")
    ]  # fmt: skip
    arguments = ["{primer}", "train", "{handoff}", "--arm", "{arm}", "--out", "{out}", *sets]
    run = set_up(place, trigger={"by": "command", "arguments": arguments})
    flow_run = place.start_flow()
    wait_until_suspended(place, run, flow_run, "waiting")
    assert state_of(run).details["flow_run_id"] == flow_run
    shown = ask(place.api, "artifacts/filter", artifacts={"key": {"any_": ["handoff-preview"]}})
    assert shown[0]["data"] == (journal_directory(run) / "preview.md").read_text()

    for wrong in (None, {}, {**YES, "reason": " "}, {**YES, "decision": "maybe"}):
        answer = ask(place.api, f"flow_runs/{flow_run}/resume", run_input=wrong)
        assert answer["status"] == "REJECT", wrong
    assert place.state(flow_run) == "Suspended"

    place.kill_worker()
    place.server.close()
    place.server = ExitStack()
    place.start_server()
    place.start_worker()
    assert place.state(flow_run) == "Suspended"
    assert state_of(run).state == "waiting"

    assert ask(place.api, f"flow_runs/{flow_run}/resume", run_input=YES)["status"] == "ACCEPT"
    place.wait_for("verdict", lambda: place.state(flow_run) in {"Promoted", "Held", "Failed"})
    states = [entry.state for entry in read_journal(run)]
    assert states == ["requested", "verified", "previewed", "waiting", "approved", "triggered",
                      "running", "done", "evaluated", "promoted"]  # fmt: skip
    approved = last_with(read_journal(run), "approved")
    assert (approved.by, approved.reason) == ("Ada", "the card convinced me")
    told = place.run_primer("handoff", "small")  # a second time: it says so, and starts nothing
    assert "small: promoted since" in told
    assert len(read_journal(run)) == len(states)


def test_a_deployment_trains_the_journeys_own_stage(place):
    """Approved by command; train/small seals stage 11; stages 12 and 13 follow by themselves."""
    run = set_up(place, trigger={"by": "deployment", "name": "train/small"})
    assert "small: requested" in place.run_primer("handoff", "small")
    place.wait_for("waiting", lambda: state_of(run).state == "waiting")
    flow_run = state_of(run).details["flow_run_id"]
    wait_until_suspended(place, run, flow_run, "waiting")
    place.run_primer("handoff", "small", "--approve", "--by", "Ada", "--reason", "go", "--wait")
    assert state_of(run).state == "promoted"
    started = last_with(read_journal(run), "triggered").details
    assert place.state(started["training_flow_run_id"]) == "Completed"
    evaluated = json.loads((run / "13-evaluate" / "results.json").read_text())
    assert {model["arm"] for model in evaluated["models"]} == {"raw", "kept+synthetic"}
    place.wait_for("the flow's end", lambda: place.state(flow_run) == "Promoted")


def test_a_flow_that_is_killed_while_it_works_is_replaced_and_a_webhook_is_sent_once(place):
    """Killed while it verifies; another flow goes on; the receiver gets one signed delivery."""
    seen = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((dict(self.headers), body))
            self.send_response(500 if len(seen) == 1 else 202)
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_address[1]}/"
    run = set_up(place, trigger={"by": "webhook", "url": url, "first_wait_s": 0.1})
    first = place.start_flow()
    place.wait_for("begun", lambda: state_of(run) is not None)
    place.kill_worker()
    assert place.state(first) != "Completed"
    place.start_worker()
    second = place.start_flow()
    place.wait_for("suspended", lambda: place.state(second) in {"Suspended", "Elsewhere"})
    place.run_primer("handoff", "small", "--approve", "--by", "Ada", "--reason", "go")
    place.wait_for("triggered", lambda: state_of(run).state == "triggered")
    receiver.shutdown()
    receiver.server_close()
    store = Deliveries(place.folder / "deliveries.sqlite")
    ids = {check_delivery(HANDOFF, headers, body, "a key", store).id for headers, body in seen}
    assert ids == {last_with(read_journal(run), "triggered").details["delivery"]}
    assert len(seen) == 2
    told = place.run_primer("report", "small", "--state", "failed", "--by", "gpu", "--reason", "x")
    assert "small: failed" in told
    waiting = last_with(read_journal(run), "waiting").details["flow_run_id"]
    place.wait_for("the flow's end", lambda: place.state(waiting) == "Failed")
    with pytest.raises(AssertionError, match="failed"):
        place.run_primer("handoff", "small", "--wait")
