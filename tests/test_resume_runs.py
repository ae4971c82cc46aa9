"""`primer resume`: what was cut short goes on, what lives is left alone, and each is told."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from prefect_server import ask, client_environment, look, prefect_server

from flows.bootstrap import RESUMED, RESUMES
from flows.resume import resume_runs
from pipeline.errors import InputError, StageError
from pipeline.verify import sealed_stages, verify_run

SOURCE = {"name": "code", "address": "${stdlib}", "kind": "code", "licence": "PSF-2.0",
          "include": ["json/*.py", "[a-f]*.py"], "exclude": ["*/*/*"]}  # fmt: skip
RECIPE = {"name": "short", "ingest": {"sources": [SOURCE], "tasks": 1}, "clean": {"workers": 1}}
PRIMER = [Path(sys.executable).parent / "primer"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMER_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path / "runs"


def cut_short(runs, name="short"):
    (runs / name / "02-clean.0123456789ab.partial").mkdir(parents=True)
    (runs / name / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "name": name}))
    return runs / name


def test_nothing_is_said_to_be_nothing(runs):
    assert list(resume_runs(None)) == ["nothing was cut short"]


def test_a_run_that_nobody_knows_is_refused(runs):
    with pytest.raises(InputError, match="there is no run 'tiny'"):
        list(resume_runs("tiny"))


def test_a_run_whose_directory_is_held_is_left_alone(runs):
    run = cut_short(runs)
    with FileLock(run / ".lock"):
        assert list(resume_runs(None)) == ["nothing was cut short"]
        assert list(resume_runs("short")) == ["short: nothing was cut short"]


def test_a_server_that_is_named_and_away_is_an_error(runs, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}/api")
        with pytest.raises(StageError, match=r"the Prefect server at .* is away; start it"):
            list(resume_runs(None))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home) as api:
        yield {**os.environ, **client_environment(home, api), "PRIMER_SILENCE_SECONDS": "10"}


def primer(environment, *words):
    done = subprocess.run(
        [*PRIMER, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def begun_run(api, times=1, tags=("primer",)):
    """A flow run that was started so often, as the API sees it."""
    flow = patiently(ask, api, "flows/", name="a-flow")["id"]
    of_its_own = {"run": str(uuid.uuid4())}  # else a newer one would stand for it
    made = patiently(ask, api, "flow_runs/", flow_id=flow, tags=list(tags), parameters=of_its_own)
    run = made["id"]
    for _ in range(times):
        set_state(api, run, "SCHEDULED")
        set_state(api, run, "RUNNING")
    return run


def set_state(api, run, kind):
    patiently(ask, api, f"flow_runs/{run}/set_state", state={"type": kind}, force=True)


def patiently(speak, *words, **body):
    """Again where SQLite was locked, which the server answers with a 503."""
    for _ in range(20):
        with suppress(urllib.error.HTTPError):
            return speak(*words, **body)
        time.sleep(0.5)
    return speak(*words, **body)


def beat(api, run):
    """One heartbeat, as a flow's process sends it."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
    related = [{"prefect.resource.id": "prefect.tag.primer", "prefect.resource.role": "tag"}]
    event = {
        "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "resource": resource,
        "event": "prefect.flow-run.heartbeat", "related": related,
    }  # fmt: skip
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{api}/events", json.dumps([event]).encode(), {"Content-Type": "application/json"}
        )
    ):
        pass


@pytest.mark.slow  # two minutes, most of which it waits
@pytest.mark.timeout(600)
def test_the_automations_find_the_silent_and_plan_the_crashed_again_but_not_for_ever(environment):
    api = environment["PREFECT_API_URL"]
    assert "automation primer: no heartbeat" in primer(environment, "bootstrap")
    off = next(one for one in ask(api, "automations/filter") if "not started" in one["name"])
    patch = urllib.request.Request(
        f"{api}/automations/{off['id']}", b'{"enabled": false}',
        {"Content-Type": "application/json"}, method="PATCH",
    )  # fmt: skip
    urllib.request.urlopen(patch).close()
    assert primer(environment, "bootstrap") == "everything is there already\n"
    assert not look(api, f"automations/{off['id']}")["enabled"]

    silent, poisonous, of_others = (
        begun_run(api),
        begun_run(api, RESUMES + 1),
        begun_run(api, 1, ()),
    )
    beat(api, silent)
    for run in (poisonous, of_others):
        set_state(api, run, "CRASHED")
    # and where an event was lost with a locked SQLite, who looks again finds it a little later
    with subprocess.Popen([*PRIMER, "resume", "--every", "5"], env=environment) as looking:
        seen = []
        over = time.monotonic() + 300
        while RESUMED not in seen and time.monotonic() < over:
            name = patiently(look, api, f"flow_runs/{silent}")["state"]["name"]
            seen += [name] if name not in seen else []
            time.sleep(0.5)
        looking.terminate()
    assert seen == ["Running", "Crashed", RESUMED]
    for run in (poisonous, of_others):
        assert patiently(look, api, f"flow_runs/{run}")["state"]["name"] == "Crashed"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_of_the_command_line_goes_on_after_a_signal(runs, tmp_path, environment, number):
    environment = {**environment, "PRIMER_RUNS": str(runs)}
    recipe = tmp_path / "short.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    begun = [*PRIMER, "run", str(recipe), "--until", "clean"]
    with subprocess.Popen(begun, env=environment) as process:
        while not list(runs.glob("short/02-*.partial")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
    assert process.returncode != 0
    said = primer(environment, "resume", "short")
    assert said.endswith(f"{runs}/short: gone on with, until clean\n")
    assert list(sealed_stages(runs / "short")) == ["ingest", "clean"]
    assert verify_run(runs / "short") == []
