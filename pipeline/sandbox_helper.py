"""The sandbox's other side: a small Python that forks a fresh process for each piece of code.

It enters its namespaces once and then waits for work, because starting Python and putting a root
together is most of what a run costs. Every run still has its own process, mount and IPC namespace
(a first process that reaps, the code as its child), its own empty scratch in memory, and rights and
limits of its own; when it ends, or when a limit is passed, the first process is killed and the
kernel ends all that it started. Nothing is shared between runs but what is read-only.

It is started by `pipeline.sandbox_link`, imports the standard library alone, and ends when its
socket does.
"""

from __future__ import annotations

import _sitebuiltins
import builtins
import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import types
from typing import Any, Never

from pipeline.sandbox_limits import Limits, give_up
from pipeline.sandbox_watch import measure_group

# What code imports most often; loaded once here instead of in each run.
_WARM = ("collections", "dataclasses", "datetime", "functools", "itertools", "math", "random", "re",
         "typing")  # fmt: skip
_LOOK_MS = 10
_SCRATCH = "/tmp"  # noqa: S108 - inside of a root of our own
_REPORT = struct.Struct("=id")  # how the code ended (wait status), processor seconds


class _Become(Exception):  # noqa: N818 - no error: it leaves the helper's frames for the code's
    def __init__(self, source: bytes) -> None:
        super().__init__()
        self.source = source


def serve(control_file: int) -> None:
    """Run what comes over the socket until it ends; in the process of a code, become that code."""
    source = None
    try:
        _serve(socket.socket(fileno=control_file))
    except _Become as code:
        source = code.source
    if source is not None:
        _become(source)


def _serve(control: socket.socket) -> None:
    limits = Limits(**json.loads(control.recv(1 << 16)))
    processes, number = None, os.getpid()
    for name in _WARM:
        __import__(name)
    for name in ("exit", "quit"):  # every script has them; `site`, which is left out, adds them
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))
    builtins.help = _sitebuiltins._Helper()
    try:
        if limits.isolated:
            from pipeline.sandbox_root import enter_namespaces

            processes = enter_namespaces()
    except OSError as refused:
        control.send(json.dumps({"refused": str(refused)}).encode())
        return
    control.send(json.dumps({"watched": processes is not None}).encode())
    gc.freeze()  # forked processes leave these pages shared
    while True:
        message, files, _, _ = socket.recv_fds(control, 16, 3)
        if not message or len(files) < 3:
            return
        done = _run(control, limits, processes, number, files)
        for file in files:
            os.close(file)
        control.send(json.dumps(done).encode())


def _run(
    control: socket.socket, limits: Limits, processes: int | None, number: int, files: list[int]
) -> dict[str, Any]:
    """Start one group, watch it, end it; how it ended and which limit ended it."""
    report, its_report = os.pipe()
    starter = os.fork()
    if starter == 0:
        try:
            control.detach()
            os.close(report)
            _start(limits, number, files, its_report)
        except _Become:
            raise
        except BaseException:
            os._exit(1)  # this process must never go on as a second helper
    os.close(its_report)
    if limits.isolated:
        os.waitpid(starter, 0)
        first = int.from_bytes(os.read(report, 4), "little")  # nothing where it could not start
    else:
        first = starter
    stopped_by = _watch(control, limits, processes, report) if first else "the sandbox failed"
    ended = os.read(report, _REPORT.size) if stopped_by is None else b""
    os.close(report)
    if first:
        _end(first, limits.isolated)
    if len(ended) < _REPORT.size:
        return {"exit_code": -signal.SIGKILL, "stopped_by": stopped_by or "ended from outside"}
    status, cpu_s = _REPORT.unpack(ended)
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code in (-signal.SIGKILL, -signal.SIGXCPU) and cpu_s >= limits.cpu_seconds:
        stopped_by = "processor_time"
    return {"exit_code": exit_code, "stopped_by": stopped_by}


def _watch(
    control: socket.socket, limits: Limits, processes: int | None, report: int
) -> str | None:
    """Wait for the report; the limit that was passed before it came, or None."""
    waiting = select.poll()
    waiting.register(report, select.POLLIN)
    waiting.register(control, select.POLLIN)
    deadline = time.monotonic() + limits.wall_seconds
    while True:
        ready = dict(waiting.poll(_LOOK_MS))
        if control.fileno() in ready:  # nobody speaks during a run: the other side has ended
            return "ended from outside"
        if report in ready:
            return None
        if time.monotonic() > deadline:
            return "wall_time"
        if processes is not None:
            usage = measure_group(processes, os.getpid(), limits.memory_bytes)
            if usage.memory_bytes > limits.memory_bytes:
                return "memory"
            if usage.cpu_s > limits.cpu_seconds:
                return "processor_time"


def _end(first: int, isolated: bool) -> None:
    """Kill all of a group. In a namespace, waiting for its first process waits for all of it."""
    with contextlib.suppress(ProcessLookupError):
        (os.kill if isolated else os.killpg)(first, signal.SIGKILL)
    os.waitpid(first, 0)


def _start(limits: Limits, number: int, files: list[int], report: int) -> Never:
    """Become the first process of a new group; with isolation, of namespaces inside of ours."""
    if limits.isolated:
        from pipeline import sandbox_kernel as kernel

        kernel.unshare(kernel.NEW_MOUNTS | kernel.NEW_PROCESSES | kernel.NEW_IPC)
        first = os.fork()
        if first:
            os.write(report, first.to_bytes(4, "little"))
            os._exit(0)
        os.setsid()  # a signal to a process's own group passes through namespaces
        options = f"size={limits.scratch_bytes},nr_inodes={limits.scratch_files},mode=1777"
        no_power = kernel.NO_SETUID | kernel.NO_DEVICES
        kernel.mount("tmpfs", _SCRATCH, "tmpfs", no_power, options)
        os.chdir(_SCRATCH)
        os.mkdir("work")
        os.chmod("work", 0o777)  # noqa: S103 - the code is another user
        os.chdir("work")
    else:
        os.setsid()
    code = os.fork()
    if code == 0:
        os.close(report)
        _prepare(limits, number, files)
    pid, status = os.wait()
    while pid != code:  # orphans of the code end here, and leave no dead processes
        pid, status = os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.write(report, _REPORT.pack(status, used.ru_utime + used.ru_stime))
    os._exit(0)


def _prepare(limits: Limits, number: int, files: list[int]) -> Never:
    """In the process of the code: its files, no others, no rights; then out to run it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # both are ignored where `nohup` or `&` began it
    source = b""
    while part := os.pread(files[0], 1 << 20, len(source)):
        source += part
    os.dup2(files[1], 1)
    os.dup2(files[2], 2)
    os.closerange(3, 4_096)
    give_up(limits, number)
    raise _Become(source)


def _become(source: bytes) -> None:
    """Run the source as a script of its own would run, in a fresh `__main__`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        del sys.modules[name]
    script = types.ModuleType("__main__")
    script.__dict__["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = script
    sys.argv, sys.path = [""], [os.getcwd(), *sys.path[:-1]]
    try:
        exec(compile(source, "<code>", "exec", dont_inherit=True), script.__dict__)  # noqa: S102
    except SystemExit:
        raise
    except BaseException as error:
        inside = error.__traceback__.tb_next if error.__traceback__ else None
        sys.excepthook(type(error), error.with_traceback(inside), inside)
        raise SystemExit(1) from None  # not `sys.exit`, which the code may have replaced
