"""Processes of this machine are what the compose file says, and are kept as compose keeps them."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.topology import Topology, table, topology
from flows.topology_plan import (
    COMPOSE,
    ROOT,
    Plan,
    fill_in,
    read_variables,
    replace_folders,
    replace_hosts,
    seconds,
)
from flows.topology_processes import marked
from pipeline.errors import InputError, StageError

SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
STARTED = [name for name, service in SERVICES.items() if "profiles" not in service]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("topology")
    return Plan(folder, "127.20.30", {"worker": 2}, read_variables(folder))


@pytest.fixture(scope="module")
def processes(plan):
    return {process.name: process for process in plan.processes()}


@pytest.mark.parametrize("service", STARTED)
def test_the_environment_is_that_of_the_compose_file(plan, processes, service):
    """Same names; same values once our addresses are called by their services' names again."""
    said = {k: fill_in(v, plan.variables) for k, v in SERVICES[service]["environment"].items()}
    names = {p.address: p.service for p in processes.values()}
    for process in (p for p in processes.values() if p.service == service):
        back = {str(here): target for target, here in process.folders.items()}
        assert set(process.environment) == set(said)
        for variable, value in process.environment.items():
            compared = re.sub(r"127\.20\.30\.\d+", lambda match: names[match[0]], value)
            for here in sorted(back, key=len, reverse=True):
                compared = compared.replace(here, back[here])
            itself = re.sub(r"127\.0\.0\.1|0\.0\.0\.0", service, said[variable])
            assert compared == itself, variable


def test_commands_health_and_order_are_those_of_the_compose_file(processes):
    worker = processes["worker-2"]
    assert worker.command[:3] == SERVICES["worker"]["entrypoint"][:3]
    assert worker.command[-7:] == SERVICES["worker"]["command"][-7:]
    assert worker.command[4] == worker.address != processes["worker-1"].address
    assert worker.health.command[-1].count(f"http://{worker.address}:8080/health") == 1
    assert worker.needs == {
        "bootstrap": "completed_successfully",
        "bucket": "completed_successfully",
    }
    assert processes["database-1"].stop_signal == "SIGINT"
    order = [p.service for p in processes.values()]
    assert set(order) == set(STARTED)
    for process in processes.values():
        assert all(order.index(need) < order.index(process.service) for need in process.needs)


@pytest.mark.parametrize("scale", ["worker", "worker=x", "=2", "wroker=2"])
def test_a_scale_that_is_none_is_refused_in_a_line(scale, tmp_path):
    with pytest.raises(InputError, match=r"--scale|there is no service 'wroker'; known: .*worker"):
        topology.main(["up", "--dir", str(tmp_path), "--scale", scale], standalone_mode=False)
    assert marked(tmp_path) == []


def test_services_share_volumes_and_nothing_in_memory(plan, processes):
    first, second = processes["worker-1"], processes["worker-2"]
    assert first.folders["/runs"] == second.folders["/runs"] == plan.folder / "volumes" / "runs"
    assert first.environment["PREFECT_HOME"] != second.environment["PREFECT_HOME"]
    assert first.folders["/primer"] == ROOT


def test_the_secrets_are_made_once_and_for_us_alone(plan):
    path = plan.folder / ".env"
    assert path.stat().st_mode & 0o077 == 0
    assert read_variables(plan.folder) == plan.variables
    assert plan.variables["HANDOFF_KEY"] == ""
    made = [value for value in plan.variables.values() if len(value) == 64]
    assert len(set(made)) == len(made) >= 6


def test_variables_are_filled_in_as_compose_does():
    assert fill_in("a${B}c ${D:-e} $$x", {"B": "1"}) == "a1c e $x"
    with pytest.raises(InputError, match=r"PASSWORD is not set.*make it"):
        fill_in("${PASSWORD:?make it}", {"PASSWORD": ""})
    assert seconds("1m30s") == 90
    assert seconds("500ms") == 0.5


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_password_is_never_taken_for_a_port(password):
    url = f"postgresql+asyncpg://prefect:{password}@database:5432/prefect"
    moved = replace_hosts(url, "127.0.0.9", {"prefect": "127.1.1.1", "database": "127.1.1.2"})
    assert moved == url.replace("database", "127.1.1.2")


def test_hosts_and_folders_are_replaced_where_they_are_such():
    addresses = {"store": "127.1.1.5", "prefect": "127.1.1.6"}
    assert (
        replace_hosts("http://store:8333/prefect", "x", addresses)
        == "http://127.1.1.5:8333/prefect"
    )
    assert replace_hosts("--host 0.0.0.0 10.0.0.0.0", "127.1.1.7", {}).startswith(
        "--host 127.1.1.7 "
    )
    folders = {"/tmp": Path("/tmp/x/tmp"), "/runs": Path("/y")}  # noqa: S108
    assert replace_folders("-dir=/tmp/a:/runs /tmpfs a/runs", folders) == (
        "-dir=/tmp/x/tmp/a:/y /tmpfs a/runs"
    )


SMALL = """
x-all: &all
  user: "1:1"
  restart: unless-stopped
  stop_grace_period: 1s
services:
  late:
    <<: *all
    entrypoint: [python, -c]
    command: ["import os, time; print(os.environ['WHERE'], flush=True); time.sleep(600)"]
    environment: {WHERE: "http://server:8000"}
    volumes: ["kept:/kept"]
    depends_on: {once: {condition: service_completed_successfully}}
  once:
    <<: *all
    restart: on-failure
    entrypoint: [python, -c]
    # fails the first time, as what comes too early does
    command:
      - |
        import pathlib, sys
        seen = pathlib.Path("/kept/seen").exists()
        pathlib.Path("/kept/seen").touch()
        sys.exit(not seen)
    volumes: ["kept:/kept"]
    depends_on: {server: {condition: service_healthy}}
  server:
    <<: *all
    entrypoint: [python, -m, http.server]
    command: ["8000", --bind, 0.0.0.0]
    healthcheck:
      test: [CMD, python, -c, "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/')"]
      interval: 1s
      timeout: 20s
      retries: 2
      start_period: 60s
      start_interval: 200ms
"""


@pytest.fixture
def small(tmp_path):
    compose = tmp_path / "compose.yml"
    compose.write_text(SMALL)
    started = Topology(tmp_path / "t", {"late": 2}, compose)
    yield started
    started.down()
    assert marked(started.folder) == []


def until(true):
    over = time.monotonic() + 60
    while not true():
        assert time.monotonic() < over
        time.sleep(0.05)


@pytest.mark.long
def test_processes_start_in_order_come_back_and_are_stopped(small):
    small.up()
    seen = small.seen()
    assert seen["once-1"]["exit_code"] == 0
    assert seen["once-1"]["restarts"] == 1
    assert seen["server-1"]["health"] == "healthy"
    assert set(small.processes()) == {"late-1", "late-2", "server-1"}
    log = small.folder / "logs" / "late-1.log"
    until(lambda: log.read_text() == f"http://{small.address('server')}:8000\n")
    assert "server-1      running (healthy)" in table(small)

    before = small.processes()["server-1"]
    os.kill(before, signal.SIGKILL)
    until(lambda: small.processes().get("server-1") not in (None, before))
    assert small.seen()["server-1"]["restarts"] == 1

    os.kill(small.processes()["late-1"], signal.SIGSTOP)  # a process that does not answer SIGTERM
    small.down()
    assert small.processes() == {}
    assert marked(small.folder) == []
    assert (small.folder / "volumes" / "kept" / "seen").exists()


@pytest.mark.long
def test_what_a_killed_supervisor_has_left_is_ended_by_the_next(small):
    small.up()
    left = small.processes()
    os.kill(small.supervisor(), signal.SIGKILL)
    until(lambda: small.supervisor() is None)
    assert "lost" in table(small)
    small.up()
    assert not set(left.values()) & set(small.processes().values())
    assert len(marked(small.folder)) == 4


@pytest.mark.long
def test_what_cannot_start_is_said_with_its_log(small, tmp_path):
    small.compose.write_text(SMALL.replace("sys.exit(not seen)", "sys.exit(1)"))
    with pytest.raises(StageError, match=r"once-1.*did not become ready.*logs"):
        small.up()
