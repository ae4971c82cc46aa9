"""Run a piece of Python that nobody has read: alone, without network, without our files.

On Linux the code runs in namespaces of its own: no network, its own process ids, and a read-only
root that holds Python, the shared libraries and an empty scratch in memory, nothing else. It has no
rights and cannot gain any; a filter (seccomp) refuses the calls of the kernel that it has no need
for. Memory and processor time are limited for all its processes together, file size, output and
number of processes by the kernel; after the time limit the whole group is killed and the process
namespace dies with its first process. Where namespaces are refused, so is the code, unless the
recipe allows it without. What was active is found by trying, once for each sandbox.

A helper that has entered its namespaces already forks for each run (`sandbox_helper`), so that a
run costs no start of Python. docs/sandbox.md says what was tried, and what a run costs.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass

from pydantic import Field

from pipeline.config import Section
from pipeline.errors import StageError
from pipeline.sandbox_filter import compile_filter
from pipeline.sandbox_limits import Limits
from pipeline.sandbox_link import Helper, RefusedError
from pipeline.sandbox_probe import describe, isolated, probe

_MIB = 2**20


class SandboxConfig(Section):
    """How much a piece of code may take."""

    cpu_seconds: int = Field(
        5, ge=1, le=600, description="Processor time of all its processes together."
    )
    wall_seconds: float = Field(10, gt=0, le=600, description="Time until it is killed.")
    memory_mib: int = Field(
        512, ge=64, le=16_384, description="Memory of all its processes, address space of each."
    )
    output_bytes: int = Field(
        100_000, ge=1_000, le=10_000_000, description="Of its output, and of any file it writes."
    )
    processes: int = Field(32, ge=1, le=1_024, description="Processes and threads at once.")
    scratch_mib: int = Field(64, ge=1, le=16_384, description="Size of its scratch, in memory.")
    allow_unprotected: bool = Field(
        False, description="Run code even where the kernel offers no namespaces: your own risk."
    )


@dataclass(frozen=True)
class Execution:
    """What a piece of code did. `exit_code` is negative for the signal that ended it.

    `stopped_by` names the limit that it passed: `wall_time`, `processor_time`, `memory` or
    `output`; or that it took the helper with it twice, `helper_lost`. None for code that ended.
    """

    exit_code: int
    stdout: str
    stderr: str
    stopped_by: str | None

    @property
    def timed_out(self) -> bool:
        """Whether it was killed for the time it took."""
        return self.stopped_by == "wall_time"

    @property
    def ok(self) -> bool:
        """Whether it ran to its end by itself."""
        return self.exit_code == 0 and self.stopped_by is None

    @property
    def problem(self) -> str:
        """Why it is not ok, in a line: the limit, or the last line of its errors."""
        if self.stopped_by == "helper_lost":
            return "the sandbox was lost twice"
        if self.stopped_by:
            return f"stopped by its limit of {self.stopped_by.replace('_', ' ')}"
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return lines[-1][:200] if lines else f"exit code {self.exit_code}, no message"


class Sandbox:
    """A place to run code in, from several threads at once; open it once and run many."""

    def __init__(self, stage: str, config: SandboxConfig) -> None:
        self.config, self._stage = config, stage
        self._idle: list[Helper] = []
        self._lock = threading.Lock()
        # more at once would only be late, and each helper holds about 10 MiB
        self._places = threading.BoundedSemaphore(2 * (os.cpu_count() or 1))
        self._end = weakref.finalize(self, _close_all, self._idle)
        self._limits = _limits(config, isolated=True, program=compile_filter())
        try:
            self._idle.append(Helper(self._limits))
        except RefusedError as refused:
            self._refuse(str(refused))
        self._found = probe(lambda code: self.run(code).stdout)
        if self._limits.isolated and not isolated(self._found):
            self._refuse(f"code inside of them got too far: {self._found}")
            self._found = probe(lambda code: self.run(code).stdout)
        self._watched = bool(self._idle) and self._idle[0].watched

    @property
    def protection(self) -> list[str]:
        """What was seen to stand between the code and the machine, for the card."""
        limits = self.config
        return [
            f"CPU {limits.cpu_seconds} s, {limits.wall_seconds:g} s in all, then killed as a group",
            f"output and files {limits.output_bytes} bytes each, scratch {limits.scratch_mib} MiB",
            *describe(self._found, self._watched, limits.memory_mib),
        ]

    def run(self, code: str) -> Execution:
        """Run `code` as a script, to its end or to a limit. Its standard input is empty."""
        with self._places:
            return self._run(code)

    def _run(self, code: str) -> Execution:
        for _ in range(2):  # a helper can be lost to others, as when the machine is out of memory
            helper = self._take()
            try:
                done, *outputs = helper.run(code)
            except OSError as error:
                raise StageError(
                    self._stage, f"no place for code and output ({error})", "free temporary space"
                ) from error
            if done:
                break
        stdout, stderr = (output.decode("utf-8", "replace") for output in outputs)
        if not done:
            return Execution(-9, stdout, stderr, "helper_lost")
        with self._lock:
            self._idle.append(helper)
        full = max(map(len, outputs)) >= self.config.output_bytes
        stopped_by = done["stopped_by"] or ("output" if full else None)
        return Execution(done["exit_code"], stdout, stderr, stopped_by)

    def _take(self) -> Helper:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            return Helper(self._limits)
        except RefusedError as refused:
            raise StageError(
                self._stage, f"no further sandbox opens ({refused})", "lower its workers"
            ) from refused

    def close(self) -> None:
        """End the helpers; they also end when nobody holds the sandbox any more."""
        self._end()

    def _refuse(self, why: str) -> None:
        if not self.config.allow_unprotected:
            raise StageError(
                self._stage,
                f"this kernel gives no namespaces to run unread code in ({why})",
                "allow unprivileged user namespaces, or set sandbox.allow_unprotected at your risk",
            )
        _close_all(self._idle)
        self._limits = _limits(self.config, isolated=False, program=compile_filter())


def _limits(config: SandboxConfig, *, isolated: bool, program: bytes | None) -> Limits:
    return Limits(
        isolated=isolated,
        cpu_seconds=config.cpu_seconds,
        wall_seconds=config.wall_seconds,
        memory_bytes=config.memory_mib * _MIB,
        output_bytes=config.output_bytes,
        processes=config.processes,
        scratch_bytes=config.scratch_mib * _MIB,
        scratch_files=10_000,
        filter_hex=program.hex() if program else None,
    )


def _close_all(helpers: list[Helper]) -> None:
    while helpers:
        helpers.pop().close()
