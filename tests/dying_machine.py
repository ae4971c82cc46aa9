"""PostgreSQL, a Prefect server and a worker as processes that can be killed and started again.

Each has a session of its own and carries the machine's mark in its environment, and so does
whatever it starts: so all of it is found in /proc, and it is seen what a death leaves behind.
PostgreSQL is Debian's, and runs as `postgres` where we are root, which it refuses to be.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from prefect_server import SILENT

from flows.bootstrap import CLIENT_ENVIRONMENT, SERVER_ENVIRONMENT
from flows.server import is_up
from flows.topology_processes import is_alive

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
MARK = "PRIMER_DYING_MACHINE"


def postgres_bin():
    """The folder of Debian's newest PostgreSQL, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def free_port():
    """A port above which another is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            with suppress(OSError):
                other.bind(("127.0.0.1", one.getsockname()[1] + 1))
                return one.getsockname()[1]


class Machine:
    """What dies, in the order in which it is started."""

    PARTS = ("database", "server", "worker")

    def __init__(self, home, port, silence_s):
        self.home, self.port = home.resolve(), port
        self.api = f"http://127.0.0.1:{port}/api"
        self.runs = self.home / "runs"
        database = f"postgresql+asyncpg://postgres@127.0.0.1:{port + 1}/prefect"
        self.environment = {
            **os.environ, **SILENT, **CLIENT_ENVIRONMENT,
            **SERVER_ENVIRONMENT,
            MARK: str(self.home), "PYTHONPATH": str(ROOT), "PRIMER_RUNS": str(self.runs),
            "PREFECT_HOME": str(self.home / "prefect"), "PREFECT_API_URL": self.api,
            "PREFECT_API_DATABASE_CONNECTION_URL": database, "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2", "PRIMER_SILENCE_SECONDS": str(silence_s),
            "PREFECT_LOGGING_EXTRA_LOGGERS": "primer",
        }  # fmt: skip
        self.processes = {}
        self._as_postgres = []
        if os.geteuid() == 0:
            self._as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres",
                                 "--clear-groups"]  # fmt: skip

    def __enter__(self):
        self.runs.mkdir(parents=True, exist_ok=True)
        self._make_cluster()
        for part in self.PARTS:
            self.start(part)
            if part == "server":
                self.primer("bootstrap")
        return self

    def __exit__(self, *_):
        self.kill("machine")

    def primer(self, *words):
        """Run a command of ours on this machine; what it printed."""
        done = subprocess.run(
            [BIN / "primer", *words], env=self.environment, cwd=ROOT,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, part):
        """Start a part, and return when it answers."""
        command = {
            "database": [
                *self._as_postgres, postgres_bin() / "postgres", "-D", self.cluster, "-p",
                str(self.port + 1), "-c", "listen_addresses=127.0.0.1", "-k", self.cluster,
            ],
            "server": [
                BIN / "prefect", "server", "start", "--host", "127.0.0.1",
                "--port", str(self.port),
            ],
            "worker": [BIN / "python", "-m", "flows.work", "--metrics-port", "0",
                       "--", "--pool", "primer"],
        }[part]  # fmt: skip
        with (self.home / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(
                [str(word) for word in command], env=self.environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True, cwd=ROOT,
            )  # fmt: skip
        if part == "database":
            self._wait(self._database_answers, 60)
        elif part == "server":
            self._wait(lambda: is_up(self.api), 180)

    def kill(self, what):
        """SIGKILL to a part with all that it started, to the flow's process alone, or to all."""
        if what == "flow":
            pids = self.flows()[-1:]
        elif what == "worker":
            pids = [self.processes["worker"].pid]  # its flows are left behind
        elif what == "machine":
            pids = self.marked() + _below(self._pid("database"))
        else:
            pids = _below(self._pid(what))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for part in self.PARTS if what == "machine" else [what]:
            if part in self.processes:
                self.processes.pop(part).wait()
        return pids

    def mend(self):
        """Start what is not there, in order."""
        for part in self.PARTS:
            if part not in self.processes or self.processes[part].poll() is not None:
                self.start(part)

    def flows(self):
        """The processes in which flows run, the newest last."""
        return [pid for pid in self.marked() if "prefect.engine" in _words(pid)]

    def marked(self):
        """All living processes of this machine; PostgreSQL overwrites its mark."""
        wanted = f"{MARK}={self.home}".encode()
        return sorted(
            pid for pid in _all() if wanted in _read(pid, "environ").split(b"\0") and is_alive(pid)
        )

    def orphans(self):
        """Those that belong to no living part and no living flow: left behind by a death."""
        kept = set()
        for pid in [*(process.pid for process in self.processes.values()), *self.flows()]:
            kept.update(_below(pid))
        return [(pid, _words(pid)) for pid in self.marked() if pid not in kept]

    @property
    def cluster(self):
        """Where the database lies."""
        return self.home / "database"

    def _make_cluster(self):
        if self.cluster.exists():
            return
        self.cluster.mkdir(mode=0o700)
        if self._as_postgres:
            for place in (self.home, *self.home.parents):  # it must be able to walk there
                if place != Path("/") and place.stat().st_uid == 0:
                    place.chmod(place.stat().st_mode | 0o011)
            shutil.chown(self.cluster, "postgres", "postgres")
        make = [*self._as_postgres, postgres_bin() / "initdb", "-D", self.cluster, "-A", "trust",
                "-U", "postgres", "--no-sync"]  # fmt: skip
        subprocess.run(make, check=True, capture_output=True, cwd="/")
        self.start("database")
        self._sql("create database prefect")
        self.kill("database")

    def _sql(self, said):
        psql = [postgres_bin() / "psql", "-h", "127.0.0.1", "-p", str(self.port + 1), "-U",
                "postgres", "-qtc", said]  # fmt: skip
        return subprocess.run(psql, capture_output=True, text=True, check=True, cwd="/").stdout

    def _database_answers(self):
        ready = [postgres_bin() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port + 1)]
        if subprocess.run(ready, check=False).returncode == 0:
            return True
        if self.processes["database"].poll() is not None:  # the dead one's memory is still there
            self.start("database")
        return False

    def _wait(self, answers, most_s):
        over = time.monotonic() + most_s
        while not answers():
            assert time.monotonic() < over, f"nothing answers; see {self.home}/*.log"
            time.sleep(0.2)

    def _pid(self, part):
        return self.processes[part].pid if part in self.processes else -1


def _all():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _words(pid):
    return _read(pid, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace")


def _below(pid):
    """A process and its children's children."""
    parents = {}
    for one in _all():
        stat = _read(one, "stat").decode("utf-8", "replace").rpartition(")")[2].split()
        if stat:
            parents.setdefault(int(stat[1]), []).append(one)
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        if one > 0:
            found.append(one)
            todo += parents.get(one, [])
    return found
