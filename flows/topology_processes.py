"""Processes of a topology as the kernel knows them: found by a mark, ended to the last.

A container takes everything in it along when it ends. Here each process carries its container's
name in its environment, as does whatever it starts, in whichever session: so all of it is found
in /proc, also by a supervisor that did not start it.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

MARK = "PRIMER_TOPOLOGY"


def mark_of(folder: Path, name: str = "") -> str:
    """What the environment of a process says of where it belongs."""
    return f"{folder.resolve()}::{name}"


def marked(folder: Path, name: str = "") -> list[int]:
    """The living processes of a topology, or of one of its containers."""
    wanted = f"{MARK}={mark_of(folder, name)}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # gone in the meantime, or another user's
            variables = (entry / "environ").read_bytes().split(b"\0")
            whole = any(v == wanted or (not name and v.startswith(wanted)) for v in variables)
            if whole and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end_all(folder: Path, name: str = "", patience_s: float = 0.0) -> None:
    """End what is marked, with a signal that it can answer to where there is patience."""
    _signal(marked(folder, name), signal.SIGTERM if patience_s else signal.SIGKILL)
    over = time.monotonic() + patience_s
    while left := marked(folder, name):
        if time.monotonic() > over:
            _signal(left, signal.SIGKILL)
        time.sleep(0.05)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
