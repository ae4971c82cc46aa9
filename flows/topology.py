"""The topology of docker-compose.yml without containers: one folder, one supervisor, real servers.

    python -m flows.topology up [--dir D] [--scale worker=2]
    python -m flows.topology status
    python -m flows.topology down

PostgreSQL, the Prefect server, the bootstrap, workers, the catalog and the S3 store run as
processes of this machine, with commands, environment and health checks read from the compose file
(`topology_plan`), kept alive as compose keeps containers (`topology_supervisor`). Volumes, logs and
secrets lie in the folder; `down` leaves them, and the next `up` goes on with them. It takes about a
minute to start on two cores. Linux only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from flows.topology_plan import COMPOSE, ROOT, Plan, Process, find_program, read_variables
from flows.topology_processes import MARK, end_all, is_alive, mark_of, marked
from flows.topology_supervisor import Supervisor
from pipeline.errors import InputError, StageError

_TRIES = 6  # of a start: what does not stay up for six is wrong, not early


@dataclass
class Topology:
    """The servers of one folder."""

    folder: Path
    scale: Mapping[str, int] = field(default_factory=lambda: {"worker": 2})
    compose: Path = COMPOSE
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()

    def up(self, patience_s: float = 300.0) -> None:
        """Start what does not run, and wait until everything is healthy."""
        if not self.supervisor():
            self._reap()
            end_all(self.folder)  # what a supervisor that was killed has left
            self._start_supervisor()
        over = time.monotonic() + patience_s
        before = self._restarts()
        while late := self._not_ready():
            tries = max(n - before.get(name, 0) for name, n in self._restarts().items())
            if tries >= _TRIES or time.monotonic() > over or not self.supervisor():
                self.down()
                raise StageError(
                    "topology", f"{', '.join(late)} did not become ready", f"see {self.folder}/logs"
                )
            time.sleep(0.2)

    def down(self) -> None:
        """Stop everything, in the order opposite to the start; what is in volumes stays."""
        pid = self.supervisor()
        if pid:
            os.kill(pid, signal.SIGTERM)
            while is_alive(pid):
                time.sleep(0.1)
        self._reap()
        end_all(self.folder, patience_s=10.0)

    def processes(self) -> dict[str, int]:
        """The pids of what runs now, as `worker-1`."""
        known = self.seen()
        return {name: seen["pid"] for name, seen in known.items() if seen["state"] == "running"}

    def seen(self) -> dict[str, dict[str, Any]]:
        """What the supervisor last wrote of each process: state, health, pid, restarts, address."""
        state: dict[str, Any] = self._state()
        known: dict[str, dict[str, Any]] = state.get("processes", {})
        return known

    def environment(self, service: str) -> dict[str, str]:
        """The variables that the compose file gives a service, with addresses of here."""
        return self._first(service).environment

    def address(self, service: str) -> str:
        """Where the first process of a service listens, on the ports of the compose file."""
        return self._first(service).address

    def _first(self, service: str) -> Process:
        return next(p for p in self.plan().processes() if p.service == service)

    def plan(self) -> Plan:
        """What is to run here; the secrets are made at the first call."""
        self.folder.mkdir(parents=True, exist_ok=True)
        variables = read_variables(self.folder)
        return Plan(self.folder, self._network(), self.scale, variables, self.compose)

    def _network(self) -> str:
        """127.a.b, of the folder's own: two topologies do not meet, and one keeps its addresses."""
        first, second = hashlib.sha256(os.fsencode(self.folder.resolve())).digest()[:2]
        return f"127.{16 + first % 224}.{second}"

    def _state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def supervisor(self) -> int | None:
        """The pid of whoever looks after the processes; None where nobody does."""
        pid = self._state().get("supervisor")
        return pid if pid in marked(self.folder, "supervisor") else None

    def _start_supervisor(self) -> None:
        plan = self.plan()
        for process in plan.processes():  # said here, and not in the supervisor's log
            find_program(process.command[0])
        (self.folder / "state.json").unlink(missing_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        scaled = [
            word for item in plan.scale.items() for word in ("--scale", "{}={}".format(*item))
        ]
        with (self.folder / "logs" / "supervisor.log").open("ab") as written:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "flows.topology", "supervise", "--dir", str(self.folder),
                 "--compose", str(self.compose), *scaled],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=written, stderr=written,
                env=os.environ | {MARK: mark_of(self.folder, "supervisor")}, start_new_session=True,
            )  # fmt: skip
        over = time.monotonic() + 30.0
        while not self._state() and time.monotonic() < over:
            time.sleep(0.1)

    def _reap(self) -> None:
        if self._child:
            self._child.wait()
            self._child = None

    def _restarts(self) -> dict[str, int]:
        return {name: seen["restarts"] for name, seen in self.seen().items()} or {"": 0}

    def _not_ready(self) -> list[str]:
        return [name for name, seen in self.seen().items() if not _is_ready(seen)] or (
            [] if self.seen() else ["supervisor"]
        )


def _is_ready(seen: Mapping[str, Any]) -> bool:
    """As `docker compose up --wait` asks: healthy, or completed."""
    if not seen["lasting"]:
        return bool(seen["state"] == "exited" and seen["exit_code"] == 0)
    return bool(seen["state"] == "running" and seen["health"] in ("healthy", ""))


DIRECTORY = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path("topology"),
    show_default=True, help="Where volumes, logs and secrets lie.",
)  # fmt: skip
SCALE = click.option("--scale", multiple=True, metavar="SERVICE=N", default=["worker=2"])


@click.group()
def topology() -> None:
    """Start, look at and stop the servers of docker-compose.yml as processes."""


@topology.command()
@DIRECTORY
@SCALE
def up(folder: Path, scale: tuple[str, ...]) -> None:
    """Start everything that does not run, and wait until it is healthy."""
    started = Topology(folder, _scale(scale))
    started.up()
    click.echo(table(started))


@topology.command()
@DIRECTORY
def down(folder: Path) -> None:
    """Stop everything; what is in volumes stays."""
    Topology(folder).down()


@topology.command()
@DIRECTORY
def status(folder: Path) -> None:
    """Print what runs, as `docker compose ps` does."""
    click.echo(table(Topology(folder)))


@topology.command(hidden=True)
@DIRECTORY
@SCALE
@click.option("--compose", type=click.Path(path_type=Path), default=COMPOSE)
def supervise(folder: Path, scale: tuple[str, ...], compose: Path) -> None:
    """Keep the processes alive, in the foreground."""
    asyncio.run(Supervisor(Topology(folder, _scale(scale), compose).plan()).run())


def _scale(words: tuple[str, ...]) -> dict[str, int]:
    scale = {}
    for word in words:
        service, _, number = word.partition("=")
        if not service or not number.isdecimal():
            raise InputError("topology", f"--scale {word!r}", "give SERVICE=N, such as worker=3")
        scale[service] = int(number)
    return scale


def table(shown: Topology) -> str:
    """One line for each process: state, health, restarts, pid, address."""
    lines = [f"{'NAME':<14}{'STATUS':<24}{'RESTARTS':<10}{'PID':<9}ADDRESS"]
    alive = shown.supervisor()
    for name, seen in shown.seen().items():
        state = seen["state"] if alive or seen["state"] != "running" else "lost"
        detail = seen["health"] if state == "running" else seen["exit_code"]
        status = state if detail in ("", None) else f"{state} ({detail})"
        lines.append(
            f"{name:<14}{status:<24}{seen['restarts']:<10}{seen['pid'] or '-':<9}{seen['address']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        topology()
    except StageError as error:
        click.echo(f"topology: {error}", err=True)
        sys.exit(error.exit_code)
