"""A real Ray cluster of two nodes on loopback, both of which end with the test.

Each node is what `ray start --block` makes on a machine of its own: a raylet, its object store and
its workers, under an address of its own. `ray stop` would end every Ray of this machine, so the
processes of a node are found by their descent and killed. The cluster has a token of its own.
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TESTS = Path(__file__).parent
HEAD, SECOND = "127.0.0.2", "127.0.0.3"
OBJECT_STORE_BYTES = 80_000_000  # Ray asks for 75 MiB at least
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",  # a dead node is noticed in seconds
}


def token():
    """What whoever starts a node or joins must have in its environment before it imports Ray."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@dataclass
class Cluster:
    address: str  # what a recipe names
    second: "Node"


class Node:
    """One `ray start --block`, whose work finds the modules of the tests."""

    def __init__(self, log, *options):
        self.log = log
        command = [
            str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1",
            f"--object-store-memory={OBJECT_STORE_BYTES}", *options,
        ]  # fmt: skip
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT,
                env={**os.environ, **SETTINGS, "PYTHONPATH": str(TESTS)},
            )  # fmt: skip
        self.ours = [psutil.Process(self.process.pid)]

    def wait(self, seconds=60):
        """Return when the node is part of the cluster."""
        deadline = time.monotonic() + seconds
        while "Ray runtime started" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def kill(self):
        """End all its processes at once, as a machine does that loses its power."""
        with suppress(psutil.NoSuchProcess):
            self.ours += self.ours[0].children(recursive=True)
        for process in self.ours:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)
        psutil.wait_procs(self.ours, timeout=10)


@contextmanager
def ray_cluster():
    """Yield when both nodes, of one processor each, have joined.

    The paths of Ray's sockets must be short, so its directory lies directly under /tmp."""
    port = free_port()
    address = f"{HEAD}:{port}"
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")))
        head = Node(
            home / "head.log", "--head", f"--port={port}", f"--node-ip-address={HEAD}",
            f"--temp-dir={home}/ray", "--include-dashboard=false",
        )  # fmt: skip
        stack.callback(head.kill)
        head.wait()
        second = Node(home / "second.log", f"--address={address}", f"--node-ip-address={SECOND}")
        stack.callback(second.kill)
        second.wait()
        yield Cluster(address, second)


def free_port():
    with socket.socket() as listener:
        listener.bind((HEAD, 0))
        return listener.getsockname()[1]
