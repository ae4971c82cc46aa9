"""`primer resume`: what was cut short goes on, what lives is left alone, and each is told."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from prefect_server import client_environment, prefect_server

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
        yield {**os.environ, **client_environment(home, api)}


@pytest.mark.long
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
    resume = [*PRIMER, "resume", "short"]
    done = subprocess.run(resume, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{runs}/short: gone on with, until clean")
    assert list(sealed_stages(runs / "short")) == ["ingest", "clean"]
    assert verify_run(runs / "short") == []
