"""The journey through the command, on real input: the smoke recipe, as a user runs it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from flows.estimate import estimate_teacher
from flows.journey import NAMES, plan_journey
from flows.recipe import load_recipe
from pipeline.verify import sealed_stages, verify_run

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "smoke.yaml"
PRIMER = Path(sys.executable).with_name("primer")


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """A home of Prefect's own, so that no server or database of the machine is touched."""
    return {
        **os.environ,
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PRIMER_RUNS": str(tmp_path_factory.mktemp("runs")),
    }


def primer(environment, *arguments, **options):
    return subprocess.run(
        [PRIMER, *arguments], env={**environment, **options}, cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def server(environment, tmp_path_factory):
    """A Prefect server that outlives the runs, as a user's would; its API's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [PRIMER.with_name("prefect"), "server", "start", "--port", str(port)],
        env={**environment, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    api = f"http://127.0.0.1:{port}/api"
    try:
        while not is_up(api):
            assert process.poll() is None, "the Prefect server did not start"
            time.sleep(0.2)
        yield api
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_up(api):
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def ask(api, route, **body):
    request = urllib.request.Request(
        f"{api}/{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(scope="session")
def whole(environment):
    """One undisturbed run of the smoke recipe."""
    done = primer(environment, "run", str(RECIPE))
    assert done.returncode == 0, done.stderr
    return Path(environment["PRIMER_RUNS"]) / "smoke", done


def outputs(run: Path) -> dict[str, str]:
    return {name: m.outputs_sha256 for name, (_, m) in sealed_stages(run).items()}


def test_the_whole_journey_is_sealed_and_verifies(whole, environment):
    run, done = whole
    assert list(sealed_stages(run)) == list(NAMES)
    assert verify_run(run) == []
    for word in ("journey of", "decode", "precision of the positive class", "report.html"):
        assert word in done.stdout
    assert primer(environment, "verify", "smoke").returncode == 0


def test_a_second_run_skips_everything_and_needs_no_server(whole, environment):
    before = {name: m.started_at for name, (_, m) in sealed_stages(whole[0]).items()}
    done = primer(environment, "run", str(RECIPE), PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert before == {name: m.started_at for name, (_, m) in sealed_stages(whole[0]).items()}


def test_a_dry_run_says_what_a_changed_field_would_run_again(whole, environment):
    done = primer(environment, "run", str(RECIPE), "--dry-run", "--set", "train.steps=21")
    assert done.returncode == 0, done.stderr
    verbs = {
        ln.split()[0][3:]: ln.split()[1] for ln in done.stdout.splitlines() if ln[:1].isdigit()
    }
    changed = {"train", "quantize", "evaluate"}
    assert {name for name, verb in verbs.items() if verb == "run"} == changed
    assert {name for name, verb in verbs.items() if verb == "skip"} == set(NAMES) - changed


def test_the_estimate_bounds_what_the_teacher_then_took(whole, environment, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # the recipe's paths are relative
    recipe = load_recipe(RECIPE)
    estimates = estimate_teacher(recipe, plan_journey(recipe, tmp_path / "not-begun"))
    for stage in ("label", "synthesize"):
        mine = [one for one in estimates if one.stage == stage]
        spent = sealed_stages(whole[0])[stage][1].spend
        assert sum(e.calls for e in mine) <= spent.calls <= sum(e.most_calls for e in mine)
        most_tokens = max(e.prompt_tokens for e in mine)
        assert spent.prompt_tokens / spent.calls <= most_tokens
    done = primer(environment, "estimate", str(RECIPE))
    assert done.returncode == 0
    assert "nothing to ask" in done.stdout


def test_a_flipped_byte_is_found_and_named(whole, environment):
    run, _ = whole
    sealed = run / "08-tokenize" / "tokenizer.json"
    content = sealed.read_bytes()
    sealed.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    try:
        done = primer(environment, "verify", "smoke")
    finally:
        sealed.write_bytes(content)
    assert done.returncode == 1
    assert str(sealed) in done.stderr


def test_show_and_card_answer_from_the_manifests(whole, environment):
    shown = primer(environment, "show", "smoke")
    assert shown.returncode == 0
    assert all(f"-{name}" in shown.stdout for name in NAMES)
    card = primer(environment, "card", "smoke")
    assert card.stdout.startswith("---\n")
    assert "not an LLM" in card.stdout


@pytest.mark.long
def test_killed_at_several_moments_it_ends_as_if_undisturbed(whole, environment, server, tmp_path):
    reported = {**environment, "PREFECT_API_URL": server}
    kill_and_resume(whole, reported, tmp_path, ["clean", "label", "synthesize", "train"])
    (artifact,) = ask(server, "artifacts/latest/filter", limit=1)
    assert artifact["key"] == "dataset-card"
    assert artifact["data"] == (tmp_path / "smoke" / "09-card" / "README.md").read_text()
    tasks = ask(server, "task_runs/filter", task_runs={"state": {"type": {"any_": ["COMPLETED"]}}})
    assert set(NAMES) <= {task["name"].rpartition("-")[0] for task in tasks}


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_killed_in_every_stage_it_ends_as_if_undisturbed(whole, environment, server, tmp_path):
    kill_and_resume(whole, {**environment, "PREFECT_API_URL": server}, tmp_path, NAMES)


def kill_and_resume(whole, environment, runs, stages):
    """SIGKILL the command once in each of these stages, then let it finish."""
    environment = {**environment, "PRIMER_RUNS": str(runs)}
    kills = []
    for name in stages:
        number = NAMES.index(name) + 1
        process = subprocess.Popen(
            [PRIMER, "run", str(RECIPE)], env=environment, cwd=ROOT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and not list(runs.glob(f"smoke/{number:02}-{name}.*.partial")):
            time.sleep(0.005)
        seconds = sealed_stages(whole[0])[name][1].seconds
        time.sleep(min(0.4 * seconds, 5))
        process.send_signal(signal.SIGKILL)
        kills.append((name, process.wait()))
    assert all(code == -signal.SIGKILL for _, code in kills), kills
    done = primer(environment, "run", str(RECIPE))
    assert done.returncode == 0, done.stderr
    assert verify_run(runs / "smoke") == []
    assert outputs(runs / "smoke") == outputs(whole[0])
    assert not list((runs / "smoke").glob("*.partial"))
    assert not processes_of(runs), "a killed run left processes behind"


def processes_of(runs):
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PRIMER_RUNS") == str(runs):
                found.append(process.cmdline())
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["run", "missing.yaml"], 2, "recipe: missing.yaml cannot be read"),
        (["run", str(RECIPE), "--set", "seed=-1"], 2, "recipe: seed = -1"),
        (["run", str(RECIPE), "--until", "polish"], 2, "journey: --until 'polish'"),
        (["run", str(RECIPE), "--set", "ingest.sources.0.address=/nowhere"], 2, "ingest: source"),
        (["verify", "nothing"], 2, "runs: there is no run 'nothing'"),
        (["show", "nothing"], 2, "runs: there is no run 'nothing'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(environment, arguments, code, line):
    done = primer(environment, *arguments)
    assert done.returncode == code
    assert done.stderr.startswith(f"primer: {line}")
    assert done.stderr.count("\n") == 1


def test_a_run_of_a_newer_version_is_refused(environment, tmp_path):
    sealed = tmp_path / "smoke" / "01-ingest"
    sealed.mkdir(parents=True)
    (sealed / "manifest.json").write_text(json.dumps({"format_version": 99}))
    done = primer(environment, "run", str(RECIPE), PRIMER_RUNS=str(tmp_path))
    assert done.returncode == 2
    assert "format 99" in done.stderr


def test_two_runs_of_one_directory_do_not_mix(environment, tmp_path):
    from filelock import FileLock

    (tmp_path / "smoke").mkdir()
    with FileLock(tmp_path / "smoke" / ".lock"):
        done = primer(environment, "run", str(RECIPE), PRIMER_RUNS=str(tmp_path))
    assert done.returncode == 2
    assert "another process" in done.stderr
