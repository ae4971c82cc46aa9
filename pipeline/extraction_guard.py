"""One guarded process that extracts, and what its end says about the page that it was given.

Neither way of the pipe can block for ever: what is written and what is read has a deadline, so a
process that hangs in whatever state costs one page and its time.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import StageError
from pipeline.extraction_process import NUMBER

WALL_TIMES_CPU = 10  # a page that waits on a busy machine is not a page that hangs
START_S = 120  # to import an extractor, on a very busy machine
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from pipeline.extraction_process import serve; "
    "serve(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))"
)
_ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "MALLOC_ARENA_MAX": "1"}
_HERE = str(Path(__file__).resolve().parents[1])  # an editable install is not on sys.path
Said = dict[str, str]


class GuardedProcess:
    """A running process; StageError where it does not start."""

    def __init__(self, extractor: str, cpu_limit_s: float, memory_limit_mib: int) -> None:
        self._cpu_limit_s = cpu_limit_s
        limits = [str(cpu_limit_s), str(memory_limit_mib << 20)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-S", "-c", _START, json.dumps([*sys.path, _HERE]), extractor,
             *limits],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            env=_ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        self.is_alive = True
        if self._hear(time.monotonic() + START_S) is None:
            raise StageError(
                "extraction",
                f"the process of {extractor} does not start (exit code {self.close(5)})",
                f"see what `python -c 'import pipeline.extraction_process, {extractor}'` says",
            )

    def ask(self, batch: list[bytes]) -> Iterator[Said]:
        """Answers in the order of the pages, up to that of the page that ended the process."""
        sizes = struct.pack(f"<{len(batch)}I", *map(len, batch))
        wall_s = self._cpu_limit_s * WALL_TIMES_CPU
        deadline = time.monotonic() + wall_s
        self._write(NUMBER.pack(len(batch)) + sizes + b"".join(batch), deadline)
        for _ in batch:
            body = self._hear(deadline)
            if body is None:
                yield self._how_it_ended(time.monotonic() >= deadline)
                return
            said: Said = json.loads(body)
            if said.get("reason") == "too_much_memory":
                self.close()
            yield said
            if not self.is_alive:
                return
            deadline = time.monotonic() + wall_s

    def close(self, wait_s: float = 0) -> int:
        """End the process, which may end by itself for so long; its return code."""
        self.is_alive = False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        return self._process.wait()

    def _write(self, message: bytes, deadline: float) -> None:
        """What a process that has ended or hangs does not take is left: reading tells the same."""
        rest = memoryview(message)
        with contextlib.suppress(BrokenPipeError):
            while rest and _wait_for(self._to, selectors.EVENT_WRITE, deadline):
                rest = rest[os.write(self._to, rest) :]

    def _hear(self, deadline: float) -> bytes | None:
        """One answer; None where the process ended or the time did."""
        head = self._read(NUMBER.size, deadline)
        return head and self._read(NUMBER.unpack(head)[0], deadline)

    def _read(self, count: int, deadline: float) -> bytes | None:
        parts = []
        while count:
            if not _wait_for(self._from, selectors.EVENT_READ, deadline):
                return None
            part = os.read(self._from, count)
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _how_it_ended(self, too_late: bool) -> Said:
        if too_late:
            self.close()
            wall_s = self._cpu_limit_s * WALL_TIMES_CPU
            return {"reason": "too_slow", "evidence": f"no answer within {wall_s:g} s"}
        code = self.close(wait_s=5)
        if code == -signal.SIGPROF:
            evidence = f"over {self._cpu_limit_s:g} s of processor time"
            return {"reason": "too_slow", "evidence": evidence}
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return {"reason": "extractor_died", "evidence": how}


def _wait_for(pipe: int, event: int, deadline: float) -> bool:
    """Whether the pipe is ready before the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, event)
        return bool(selector.select(max(0.0, deadline - time.monotonic())))
