"""What a group of processes uses together: memory and processor time, read from `/proc`.

A limit of the kernel's (`setrlimit`) holds for one process; a group of thirty could take thirty
times as much. So the helper looks at the whole group every few milliseconds: resident pages first,
which count shared pages more than once, and only above the limit the proportional share, which
does not but costs more to read. Between two looks a group can overshoot by what the machine's cores
can touch in that time (some tens of MiB).
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Of all processes of a group together."""

    cpu_s: float
    memory_bytes: int


def measure_group(processes: int, first_pid: int, memory_limit_bytes: int) -> Usage:
    """Measure the processes numbered above `first_pid`, through an open `/proc`."""
    ticks = pages = 0
    pids = [name for name in os.listdir(processes) if name.isdecimal() and int(name) > first_pid]
    for pid in pids:
        fields = _read(processes, f"{pid}/stat").rpartition(b")")[2].split()
        if len(fields) > 21:
            ticks += sum(map(int, fields[11:15]))  # its own, and of children that it saw end
            pages += int(fields[21])
    memory_bytes = pages * _PAGE_BYTES
    if memory_bytes > memory_limit_bytes:
        memory_bytes = sum(_share_bytes(_read(processes, f"{pid}/smaps_rollup")) for pid in pids)
    return Usage(ticks / _TICKS_PER_S, memory_bytes)


def _share_bytes(rollup: bytes) -> int:
    for line in rollup.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(processes: int, path: str) -> bytes:
    with contextlib.suppress(OSError):  # it ended while we looked
        file = os.open(path, os.O_RDONLY, dir_fd=processes)
        try:
            return os.read(file, 4_096)
        finally:
            os.close(file)
    return b""
