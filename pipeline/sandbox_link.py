"""The way to one helper of the sandbox: its process, its socket, one run at a time.

Code and output go through unnamed temporary files, whose descriptors are sent over the socket: the
kernel's limit of file size caps them, and nothing is left when they are closed. The helper ends
when the socket does, so that even after `kill -9` of this process nothing stays behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.sandbox_limits import Limits

_OURS = Path(__file__).resolve().parents[1]
_START = (
    "import sys; sys.path.append(sys.argv[2]); "
    "from pipeline.sandbox_helper import serve; serve(int(sys.argv[1]))"
)
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin",
    "HOME": "/tmp/work", "TMPDIR": "/tmp",  # noqa: S108 - the scratch inside
}  # fmt: skip
_GRACE_S = 5  # after the wall time: the helper is late only if the machine is very busy


class RefusedError(Exception):
    """The kernel refused the helper its namespaces; the message is the kernel's."""


class Helper:
    """A running helper. `watched`: whether it sees what its groups use together."""

    def __init__(self, limits: Limits) -> None:
        self._wait_s = limits.wall_seconds + _GRACE_S
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            python = [os.path.realpath(sys.executable), "-S", "-s", "-P", "-B"]
            self._process = subprocess.Popen(
                [*python, "-c", _START, str(its.fileno()), str(_OURS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        self._socket = ours
        ours.settimeout(self._wait_s)
        with contextlib.suppress(OSError):  # it ended at once: nothing will be heard
            ours.send(json.dumps(dataclasses.asdict(limits)).encode())
        hello = self._hear()
        if "watched" not in hello:
            self.close()
            raise RefusedError(hello.get("refused", "its helper did not start"))
        self.watched = bool(hello["watched"])

    def run(self, code: str) -> tuple[dict[str, Any], bytes, bytes]:
        """How it ended (empty where the helper was lost), standard output, standard error."""
        try:
            return self._run(code)
        except BaseException:  # interrupted, or no space: its answer must not reach the next run
            self.close()
            raise

    def _run(self, code: str) -> tuple[dict[str, Any], bytes, bytes]:
        with contextlib.ExitStack() as opened:
            source, stdout, stderr = (
                opened.enter_context(tempfile.TemporaryFile()) for _ in range(3)
            )
            source.write(code.encode("utf-8", "surrogatepass"))
            source.flush()
            files = [file.fileno() for file in (source, stdout, stderr)]
            with contextlib.suppress(OSError):
                socket.send_fds(self._socket, [b"run"], files)
            done = self._hear()
            if not done:
                self.close()
            return done, _content(stdout.fileno()), _content(stderr.fileno())

    def close(self) -> None:
        """End the helper and everything in it, at once."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _hear(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            heard: dict[str, Any] = json.loads(self._socket.recv(1 << 16))
            return heard
        return {}


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)
