"""`primer serve` for real: its own server, schedules that fire, runs that the page asks for."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from prefect_server import ask, look

from flows.recipe import Recipe
from flows.server import is_up
from pipeline.verify import sealed_stages, verify_run

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
_SLOWEST_START_S = 600  # 15 on a quiet machine
FLOWS = ("curate", "label", "synthesize", "handoff", "train", "evaluate")


@dataclass
class Served:
    """A `primer serve` at work."""

    process: subprocess.Popen
    page: str
    log: Path
    runs: Path
    arriving: Path
    environment: dict[str, str]

    @property
    def api(self):
        return f"{self.page}/api"

    def deployment(self, flow, name):
        return look(self.api, f"deployments/name/{flow}/{name}")

    def start(self, flow, name, **parameters):
        """What the page's button does."""
        deployment = self.deployment(flow, name)
        return ask(self.api, f"deployments/{deployment['id']}/create_flow_run",
                   parameters=parameters)["id"]  # fmt: skip

    def flow_runs(self, flow):
        return ask(self.api, "flow_runs/filter", flows={"name": {"any_": [flow]}}, limit=200)

    def wait(self, look_for, timeout_s, what):
        """What `look_for` finds, as soon as it finds something."""
        over = time.monotonic() + timeout_s
        while not (found := look_for()):
            said = self.log.read_text()[-3_000:]
            assert self.process.poll() is None, f"serve has ended:\n{said}"
            assert time.monotonic() < over, f"{what}: not within {timeout_s} s\n{said}"
            time.sleep(0.5)
        return found

    def end_of(self, flow_run, timeout_s):
        """The flow run when it has ended."""

        def ended():
            found = look(self.api, f"flow_runs/{flow_run}")
            return found if found["end_time"] else None

        return self.wait(ended, timeout_s, "the run's end")


def begin(place, recipe, *options):
    """Start to serve a recipe, and wait until its worker works."""
    (place / "runs").mkdir(exist_ok=True)
    (place / "arriving").mkdir(exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items()
        if name not in {"PREFECT_API_URL", "PREFECT_PROFILE"}
    } | {"PREFECT_HOME": str(place / "prefect"), "PRIMER_RUNS": str(place / "runs")}  # fmt: skip
    log = place / "serve.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [BIN / "primer", "serve", str(recipe), "--ui-port", "0", *options],
            env=environment, cwd=ROOT, stdout=written, stderr=written, start_new_session=True,
        )  # fmt: skip
    served = Served(process, "", log, place / "runs", place / "arriving", environment)
    try:
        served.wait(lambda: "started!" in log.read_text(), _SLOWEST_START_S, "a worker")
    except BaseException:
        end(served)
        raise
    (page,) = [line for line in log.read_text().splitlines() if line.startswith("its page: ")]
    served.page = page.removeprefix("its page: ")
    return served


def end(served, number=signal.SIGTERM):
    """Stop it; its exit code."""
    served.process.send_signal(number)
    try:
        return served.process.wait(60)
    finally:
        if served.process.poll() is None:
            os.killpg(served.process.pid, signal.SIGKILL)
            served.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A small recipe that looks for new shards every ten seconds."""
    place = tmp_path_factory.mktemp("served")
    source = {"name": "code", "address": "${stdlib}", "kind": "code", "licence": "PSF-2.0",
              "include": ["email/*.py", "json/*.py", "http/*.py"]}  # fmt: skip
    recipe = {
        "name": "served",
        "ingest": {"sources": [source], "tasks": 1},
        "clean": {"workers": 1},
        "label": {"sample_size": 20},
        "schedule": {
            "watch": {"address": str(place / "arriving"), "interval_s": 10, "quiet_s": 0},
        },
    }
    (place / "served.yaml").write_text(yaml.safe_dump(recipe))
    running = begin(place, place / "served.yaml")
    yield running
    end(running)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_form_is_the_recipe_s_schema(served):
    of_pydantic = Recipe.model_json_schema(ref_template="#/definitions/{model}")
    sections = of_pydantic.pop("$defs")
    for flow in FLOWS:
        schema = served.deployment(flow, "served")["parameter_openapi_schema"]
        assert schema["definitions"]["Recipe"] == of_pydantic
        assert {name: schema["definitions"][name] for name in sections} == sections
        assert schema["required"] == ["recipe"]
        options = {"append"} if flow in {"curate", "label", "synthesize"} else {"run"}
        assert set(schema["properties"]) == {"recipe"} | options
        assert all(schema["properties"][name]["description"] for name in options)
    with urllib.request.urlopen(served.page, timeout=30) as page:
        assert "text/html" in page.headers["Content-Type"]


@pytest.mark.long
def test_what_does_not_fit_the_form_is_refused(served):
    given = served.deployment("label", "served")["parameters"]["recipe"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.start("label", "served", recipe={**given, "seed": -1})
    assert refused.value.code == 409
    assert "-1 is less than the minimum of 0" in refused.value.read().decode()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_that_the_page_asks_for_seals_its_stages(served):
    run = served.end_of(served.start("label", "served"), 500)
    assert run["state_name"] == "Completed", (run["state"], served.log.read_text()[-3_000:])
    assert run["name"].startswith("served: label, ")
    assert {"primer", "served"} <= set(run["tags"])
    stages = sealed_stages(served.runs / "served")
    assert list(stages) == ["ingest", "clean", "label"]
    assert verify_run(served.runs / "served") == []
    shown = {one["key"]: one for one in ask(
        served.api, "artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}},
    )}  # fmt: skip
    assert shown["stages"]["data"] == 100
    assert [stages[name][0].name for name in stages] == [
        row["stage"] for row in yaml.safe_load(shown["ledger"]["data"])
    ]

    def said():  # lines arrive a little after the state
        lines = ask(served.api, "logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
        return [line for line in lines if line["message"].startswith("03-label: ")]

    served.wait(said, 60, "the line of a sealed stage")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interval_fires_by_itself(served):
    def looked():
        return [r for r in served.flow_runs("new-shards") if r["state_name"] == "Completed"]

    first = served.wait(looked, 500, "a scheduled look")[0]
    assert first["auto_scheduled"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_new_shards_start_a_curating_run(served):
    """The event, the automation that waits for it, and the run that it starts."""
    assert served.flow_runs("curate") == []
    (served.arriving / "00000.jsonl").write_text('{"text": "a shard"}\n')
    (run,) = served.wait(lambda: served.flow_runs("curate"), 500, "a run of curate")
    assert run["parameters"]["append"] is True
    assert run["parameters"]["recipe"]["name"] == "served"
    assert not run["auto_scheduled"]
    served.wait(lambda: served.flow_runs("curate")[0]["start_time"], 500, "its start")
    # the same shards are told of once
    looks = len(served.flow_runs("new-shards"))
    served.wait(lambda: len(served.flow_runs("new-shards")) > looks, 500, "another look")
    assert len(served.flow_runs("curate")) == 1


@pytest.mark.long
def test_a_killed_serve_takes_its_server_along(served):
    """The last one of this server."""
    runs = psutil.Process(served.process.pid).children(recursive=True)
    served.process.kill()
    over = time.monotonic() + 60
    while is_up(served.api):
        assert time.monotonic() < over, "the server lives on"
        time.sleep(0.2)
    for run in runs:  # which have no worker any more
        with contextlib.suppress(psutil.NoSuchProcess):
            run.kill()


@pytest.mark.slow
@pytest.mark.timeout(2_400)
def test_a_cron_fires_and_what_is_stopped_goes_on(tmp_path):
    """Every minute, by itself; stopped in the middle, and gone on with when served again."""
    smoke = [ROOT / "recipes" / "smoke.yaml", "--set", "schedule.curate.cron='* * * * *'"]
    first = begin(tmp_path, *smoke)
    try:
        partial = first.runs / "smoke"
        first.wait(lambda: list(partial.glob("06-*.partial")), 900, "a stage under way")
        (begun,) = [r for r in first.flow_runs("curate") if r["state_name"] == "Running"]
        assert begun["auto_scheduled"]
        assert begun["parameters"]["append"] is True
    finally:
        assert end(first) == 0
    second = begin(tmp_path, *smoke)
    try:
        run = second.end_of(begun["id"], 1_200)
        assert run["state_name"] == "Completed", run["state"]
        assert run["run_count"] == 2
        assert list(sealed_stages(second.runs / "smoke"))[-1] == "handoff"
        assert verify_run(second.runs / "smoke") == []
    finally:
        end(second)
