"""Start the processes of a plan, in order; start again what dies; stop all in the opposite order.

Does what `docker compose up` does. What a service needs is healthy, or has completed, before it
starts. What dies is started again as its `restart` says, after 0.1 s, doubled each time up to a
minute, and forgotten after ten seconds of life; what ends takes its children along. A health check
says `starting` until it first succeeds, and `unhealthy` after as many failures as it is allowed.
The state stands in `state.json`, written anew at every change.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from flows.topology_cluster import is_database, make_cluster, server_command, server_user
from flows.topology_plan import ROOT, Health, Plan, Process, find_program
from flows.topology_processes import MARK, end_all, mark_of

# What the compose file sets, or what would tell a process of another server than its own.
_NOT_INHERITED = ("PREFECT_", "PRIMER_", "PROMETHEUS_", "AWS_", "POSTGRES_", "PG", "PYTEST_")
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S, _FORGIVEN_AFTER_S = 0.1, 60.0, 10.0


@dataclass
class Seen:
    """What is known of one process; `state` and `health` are docker's words."""

    service: str
    address: str
    lasting: bool  # or done when it has ended well
    state: str = "created"
    health: str = ""
    pid: int | None = None
    restarts: int = 0
    exit_code: int | None = None


class Supervisor:
    """Keeps the processes of a plan alive until SIGTERM or SIGINT."""

    def __init__(self, plan: Plan) -> None:
        self._folder = plan.folder
        self._processes = plan.processes()
        self._seen = {p.name: Seen(p.service, p.address, _is_lasting(p)) for p in self._processes}
        self._children: dict[str, asyncio.subprocess.Process] = {}

    async def run(self) -> None:
        """Start everything, keep it, and stop it when told to."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        # a signal that the shell made us ignore would be ignored by all that we start
        for number in (signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        self._write()
        keepers = [asyncio.create_task(self._keep(process)) for process in self._processes]
        for keeper in keepers:
            keeper.add_done_callback(lambda done: stop.set() if _failed(done) else None)
        await stop.wait()
        for keeper in keepers:
            keeper.cancel()
        await self._end_all()
        for keeper in filter(_failed, keepers):
            keeper.result()

    async def _keep(self, process: Process) -> None:
        await self._needs(process)
        pause_s = _SHORTEST_PAUSE_S
        while True:
            began = time.monotonic()
            child = await self._start(process)
            checking = asyncio.create_task(self._check(process))
            code = await child.wait()
            checking.cancel()
            await asyncio.to_thread(end_all, self._folder, process.name)
            self._say(process, state="exited", health="", pid=None, exit_code=code)
            if process.restart == "no" or (not code and not _is_lasting(process)):
                return
            if time.monotonic() - began > _FORGIVEN_AFTER_S:
                pause_s = _SHORTEST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._say(process, restarts=self._seen[process.name].restarts + 1)

    async def _needs(self, process: Process) -> None:
        while not all(self._fulfilled(need, how) for need, how in process.needs.items()):
            await asyncio.sleep(0.1)

    def _fulfilled(self, service: str, condition: str) -> bool:
        seen = [known for known in self._seen.values() if known.service == service]
        if condition == "completed_successfully":
            return all(known.state == "exited" and known.exit_code == 0 for known in seen)
        if condition == "healthy":
            return any(known.health == "healthy" for known in seen)
        return any(known.state == "running" for known in seen)

    async def _start(self, process: Process) -> asyncio.subprocess.Process:
        # what lies in memory in a container is empty at every start
        shutil.rmtree(self._folder / "tmp" / process.name, ignore_errors=True)
        for place in process.folders.values():
            place.mkdir(parents=True, exist_ok=True)
        user, command = None, [find_program(process.command[0]), *process.command[1:]]
        if is_database(process):
            await asyncio.to_thread(make_cluster, process)
            user, command = server_user(), server_command(process)
        environment = inherited_environment() | process.environment
        environment[MARK] = mark_of(self._folder, process.name)
        with self._log(process) as written:
            child = await asyncio.create_subprocess_exec(
                *command, env=environment, cwd=ROOT, user=user, stdin=asyncio.subprocess.DEVNULL,
                stdout=written, stderr=written, start_new_session=True,
            )  # fmt: skip
        self._children[process.name] = child
        health = "starting" if process.health else ""
        self._say(process, state="running", health=health, pid=child.pid, exit_code=None)
        return child

    def _log(self, process: Process) -> IO[bytes]:
        logs = self._folder / "logs"
        logs.mkdir(exist_ok=True)
        return (logs / f"{process.name}.log").open("ab")

    async def _check(self, process: Process) -> None:
        if not process.health:
            return
        health, began, failures = process.health, time.monotonic(), 0
        while True:
            starting = self._seen[process.name].health == "starting"
            early = starting and time.monotonic() - began < health.start_period_s
            await asyncio.sleep(health.start_interval_s if early else health.interval_s)
            if await _is_well(health):
                failures = 0
                self._say(process, health="healthy")
            elif not early:
                failures += 1
                if failures >= health.retries:
                    self._say(process, health="unhealthy")

    async def _end_all(self) -> None:
        services = list(dict.fromkeys(process.service for process in self._processes))
        for service in reversed(services):
            own = [process for process in self._processes if process.service == service]
            await asyncio.gather(*map(self._end, own))

    async def _end(self, process: Process) -> None:
        child = self._children.get(process.name)
        if child and child.returncode is None:
            child.send_signal(signal.Signals[process.stop_signal])
            try:
                await asyncio.wait_for(child.wait(), process.stop_grace_s)
            except TimeoutError:
                child.kill()
                await child.wait()
            self._say(process, state="exited", health="", pid=None, exit_code=child.returncode)
        await asyncio.to_thread(end_all, self._folder, process.name)

    def _say(self, process: Process, **changes: str | int | None) -> None:
        seen = self._seen[process.name]
        before = asdict(seen)
        for name, value in changes.items():
            setattr(seen, name, value)
        if asdict(seen) != before:
            self._write()

    def _write(self) -> None:
        state = {
            "supervisor": os.getpid(),
            "processes": {n: asdict(s) for n, s in self._seen.items()},
        }
        partial = self._folder / "state.json.partial"
        partial.write_text(json.dumps(state, indent=1))
        partial.rename(self._folder / "state.json")


def _is_lasting(process: Process) -> bool:
    return process.restart not in ("no", "on-failure")


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


async def _is_well(health: Health) -> bool:
    """Ask once, with the command that the container is asked with."""
    child = await asyncio.create_subprocess_exec(
        find_program(health.command[0]), *health.command[1:], cwd=Path("/"),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return await asyncio.wait_for(child.wait(), health.timeout_s) == 0
    except TimeoutError:
        return False
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def inherited_environment() -> dict[str, str]:
    """The environment of this process without what a container would not see."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
    programs = Path(find_program("python")).parent
    return kept | {"PATH": f"{programs}:{kept.get('PATH', os.defpath)}"}
