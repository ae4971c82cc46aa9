"""What a recipe's schedule says becomes deployments, and prefect.yaml is one that was printed."""

import errno
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prefect_server import ask, client_environment, prefect_server

from flows.deployments import FLOWS, as_prefect_yaml, plan_deployments
from flows.journey import STAGES
from flows.main import primer
from flows.new_shards import quiet_files
from flows.patience import passes
from flows.recipe import load_recipe, parse_recipe
from flows.schedule import WatchConfig
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.pace import DownError

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "smoke.yaml"
BIN = Path(sys.executable).parent
# What prefect.yaml shows beside the recipe: one schedule of each kind.
CHANGES = (
    "schedule.curate.cron='30 2 * * *'",
    "schedule.evaluate.interval_s=604800",
    "schedule.watch.address=recipes/benchmark/planted",
)


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(RECIPE, CHANGES)


@pytest.fixture(scope="module")
def planned(recipe):
    return {one["entrypoint"].rpartition(".")[2]: one for one in plan_deployments(recipe)}


def test_prefect_yaml_is_what_the_command_prints():
    changes = [word for change in CHANGES for word in ("--set", change)]
    printed = CliRunner().invoke(primer, ["serve", str(RECIPE), "--dry-run", *changes])
    assert printed.exit_code == 0, printed.output
    assert printed.output == (ROOT / "prefect.yaml").read_text()


def test_it_reads_back_as_the_same_deployments(recipe):
    planned = plan_deployments(recipe)
    assert yaml.safe_load(as_prefect_yaml(planned))["deployments"] == planned


def test_all_flows_are_deployed_with_the_whole_recipe(planned, recipe):
    assert set(planned) == {*FLOWS, "new_shards"}
    for one in planned.values():
        assert one["name"] == "smoke"
        assert one["tags"] == ["primer", "smoke"]
        assert one["work_pool"]["name"] == "primer"
        assert one["enforce_parameter_schema"] is True
        assert parse_recipe(one["parameters"]["recipe"]) == recipe


def test_schedules_and_the_trigger_ask_for_new_shards_only(planned):
    (cron,) = planned["curate"]["schedules"]
    assert (cron["cron"], cron["timezone"]) == ("30 2 * * *", "UTC")
    assert cron["parameters"] == {"append": True}
    (interval,) = planned["evaluate"]["schedules"]
    assert interval["interval"] == 604_800
    assert "parameters" not in interval
    (trigger,) = planned["curate"]["triggers"]
    assert trigger["expect"] == ["primer.shards.arrived"]
    assert trigger["match"] == {"prefect.resource.id": "primer.dataset.smoke"}
    assert trigger["parameters"] == {"append": True}
    assert all(not planned[name]["triggers"] for name in planned if name != "curate")


def test_limits_are_the_recipe_s(recipe):
    changed = load_recipe(RECIPE, ["schedule.train={runs_at_once: 3, when_busy: cancel}"])
    limits = {one["entrypoint"]: one["concurrency_limit"] for one in plan_deployments(changed)}
    assert limits["flows.deployed.train"] == {"limit": 3, "collision_strategy": "CANCEL_NEW"}
    assert limits["flows.deployed.label"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_without_schedules_nothing_starts_by_itself(recipe):
    for one in plan_deployments(recipe, with_schedules=False):
        assert one["schedules"] == []
        assert one["triggers"] == []


def test_a_schedule_changes_no_stage(recipe):
    plain = load_recipe(RECIPE)
    assert recipe != plain
    for stage in STAGES:
        assert stage.config(recipe) == stage.config(plain)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("schedule.curate.cron='30 2 * *'", "schedule.curate.cron"),
        ("schedule.curate={cron: '@daily', interval_s: 60}", "take one"),
        ("schedule.curate.interval_s=5", "schedule.curate.interval_s"),
        ("schedule.timezone=Berlin", "no time zone is called 'berlin'"),
        ("schedule.label.when_busy=drop", "schedule.label.when_busy"),
        ("schedule.watch.interval_s=60", "schedule.watch.address"),
    ],
)
def test_a_wrong_schedule_is_refused(change, says):
    with pytest.raises(InputError) as refused:
        load_recipe(RECIPE, [change])
    assert says in str(refused.value)


def test_two_recipes_of_one_name_are_refused():
    done = CliRunner().invoke(primer, ["serve", str(RECIPE), str(RECIPE), "--dry-run"])
    assert done.exit_code == 2
    assert "two recipes are called 'smoke'" in done.stderr


def raised(work, *kinds):
    """The error that `work` raises, having been handled as a stage would."""
    with pytest.raises(kinds or Exception) as caught:
        work()
    return caught.value


def refused():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5)


def raise_in_turn(*errors):
    """Raise the first, and each next one while the one before it is handled."""

    def work():
        if len(errors) == 1:
            raise errors[0]
        try:
            raise_in_turn(*errors[:-1])()
        except type(errors[-2]):
            raise errors[-1] from None

    return work


def test_what_the_network_did_is_tried_again():
    network = raised(refused)
    assert passes(network.reason)
    assert passes(raised(raise_in_turn(network.reason, StageError("ingest", "a", "b"))))
    busy = urllib.error.HTTPError("http://a", 503, "busy", None, None)
    busy.close()
    assert passes(busy)
    assert passes(OSError(errno.EHOSTUNREACH, "no route"))
    assert passes(raised(raise_in_turn(DownError(), StoppedError("label", "it is down", "wait"))))


def test_what_a_person_must_mend_is_not():
    network = raised(refused)
    assert not passes(InputError("ingest", "a", "b"))
    assert not passes(raised(raise_in_turn(network.reason, InputError("ingest", "a", "b"))))
    assert not passes(StoppedError("label", "the cap is reached", "raise it"))
    assert not passes(StageError("label", "a", "b"))
    assert not passes(OSError(errno.ENOSPC, "full"))
    assert not passes(urllib.error.HTTPError("http://a", 404, "gone", None, None))
    assert not passes(ValueError("a bug"))
    assert not passes(None)


def test_files_that_are_still_written_to_are_left_for_later(tmp_path):
    (tmp_path / "whole.md").write_text("whole")
    (tmp_path / "growing.md").write_text("grow")
    (tmp_path / "other.txt").write_text("other")
    now = 1_800_000_000
    for name, age_s in (("whole.md", 31), ("growing.md", 29), ("other.txt", 31)):
        os.utime(tmp_path / name, (now - age_s, now - age_s))
    watch = WatchConfig(address=str(tmp_path), include=("*.md",), quiet_s=30)
    assert [file.name for file in quiet_files(watch, now)] == ["whole.md"]
    assert len(quiet_files(watch, now + 2)) == 2


@pytest.mark.long
def test_a_store_is_looked_at_like_a_directory(store):
    watch = WatchConfig(address="s3://corpus/arriving", include=("*.parquet",))
    assert quiet_files(watch, 0) == []
    store.pipe("corpus/arriving/00000.parquet", b"a shard")
    store.pipe("corpus/arriving/README.md", b"no shard")
    (file,) = quiet_files(watch, 0)  # its objects are whole, whatever their age
    assert (file.name, file.bytes) == ("00000.parquet", 7)
    store.pipe("corpus/arriving/00000.parquet", b"another")
    assert quiet_files(watch, 0)[0].stamp != file.stamp


def test_an_address_where_nothing_has_arrived_yet_is_no_mistake(tmp_path):
    assert quiet_files(WatchConfig(address=str(tmp_path / "not-yet")), 0) == []


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The environment of a client of a server that nothing else uses, and its address."""
    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home) as api:
        yield {**os.environ, **client_environment(home, api)}, api


def run_it(command, environment):
    """What a command printed; it must succeed."""
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.timeout(400)
def test_what_passes_is_tried_again(reported, tmp_path):
    child = [sys.executable, str(ROOT / "tests" / "patient_child.py"), str(tmp_path)]
    became = json.loads(run_it(child, reported[0]).splitlines()[-1])
    assert {way: (one["tried"], one["state"]) for way, one in became.items()} == {
        "away-once": (2, "Completed"), "away": (3, "Failed"), "wrong": (1, "Failed"),
        "slow": (1, "Failed"),
    }  # fmt: skip
    assert [way for way, one in became.items() if one["sealed"]] == ["away-once"]
    assert "stage: it took longer than 2 s" in became["slow"]["message"]
    assert became["slow"]["seconds"] < 45  # it sleeps for 60


@pytest.mark.long
@pytest.mark.timeout(400)
def test_prefect_deploys_the_committed_file(reported):
    environment, api = reported
    run_it([BIN / "primer", "bootstrap"], environment)
    run_it([BIN / "prefect", "--no-prompt", "deploy", "--all"], environment)
    found = ask(api, "deployments/filter")
    deployed = {one["entrypoint"].rpartition(".")[2]: one for one in found}
    assert set(deployed) == {*FLOWS, "new_shards"}
    assert deployed["curate"]["schedules"][0]["schedule"]["cron"] == "30 2 * * *"
    assert deployed["evaluate"]["schedules"][0]["schedule"]["interval"] == 604_800
    assert {one["global_concurrency_limit"]["limit"] for one in found} == {1}
    assert {one["work_pool_name"] for one in found} == {"primer"}
    automations = {one["name"]: one for one in ask(api, "automations/filter")}
    (action,) = automations["smoke: new shards"]["actions"]
    assert action["deployment_id"] == deployed["curate"]["id"]
    assert action["parameters"] == {"append": True}
