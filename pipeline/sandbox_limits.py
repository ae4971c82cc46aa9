"""What a process gives up before it runs unread code, in an order that cannot be taken back.

Its user (a number that nobody else has, so that the limit of processes counts its own alone), every
capability, any way to gain one, memory, processor time, file size; the filter of system calls comes
last, for it would refuse some of the rest.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from dataclasses import dataclass

_NOBODY = 65_534
_FIRST_UNUSED_USER = 2_000_000_000  # far above what systems and containers give to users
_OPEN_FILES = 64  # the buffers of sockets count to no process: 12 MiB of them at most


@dataclass(frozen=True)
class Limits:
    """What one run may take, and whether it is isolated; sent to the helper once."""

    isolated: bool
    cpu_seconds: int
    wall_seconds: float
    memory_bytes: int
    output_bytes: int
    processes: int
    scratch_bytes: int
    scratch_files: int
    filter_hex: str | None


def give_up(limits: Limits, number: int) -> None:
    """Give up everything but computing; `number` tells this helper from others."""
    linux = sys.platform == "linux"
    if linux:
        from pipeline import sandbox_kernel as kernel

        kernel.drop_rights()
    if limits.isolated and _is_real_root():
        _become_nobody(_FIRST_UNUSED_USER + number)
    for name, most in _resources(limits).items():
        with contextlib.suppress(ValueError):  # the user's own hard limit is lower yet
            resource.setrlimit(name, (most, most))
    if linux:
        kernel.clear_capabilities()
        if limits.filter_hex is not None:
            kernel.filter_calls(bytes.fromhex(limits.filter_hex))


def _resources(limits: Limits) -> dict[int, int]:
    most = {
        resource.RLIMIT_CPU: limits.cpu_seconds + 1,  # the helper acts first, where it can see
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.output_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if limits.isolated:  # else it would count all that the user runs elsewhere
        ours = 0 if _is_real_root() else 2  # in a user namespace, the helpers count as well
        most[resource.RLIMIT_NPROC] = limits.processes + ours
    return most


def _is_real_root() -> bool:
    """Whether this is a root with other users beside it, and not one of a user namespace."""
    with contextlib.suppress(OSError):
        os.setgroups([])  # refused in the namespace that a plain user makes
        return os.geteuid() == 0
    return False


def _become_nobody(user: int) -> None:
    try:
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:  # a container that holds fewer users
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
