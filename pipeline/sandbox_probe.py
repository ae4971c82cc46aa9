"""What a sandbox really keeps out, found by code that tries to get out.

The code is told of a file that exists, of a port that listens and of this process, and tries each;
it asks the kernel about its rights, its filter and its limits. What the card says comes from here.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any

_TRIES = """
import ctypes, errno, json, os, resource, socket
path, address, pid = {file!r}, {address!r}, {pid!r}
def reason(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, "other")
def number(call, *given):
    return getattr(ctypes.CDLL(None), call)(*given) if hasattr(ctypes.CDLL(None), call) else -1
soft = lambda name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0]
print(json.dumps({{
    "file": reason(lambda: open(path).close()),
    "network": reason(lambda: socket.create_connection(tuple(address), 1).close()),
    "process": reason(lambda: os.kill(pid, 0)),
    "mount": number("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "no_new_privs": number("prctl", 39, 0, 0, 0, 0),
    "filter": number("prctl", 21, 0, 0, 0, 0),
    "root": sorted(os.listdir("/")),
    "memory": soft("AS"), "cpu": soft("CPU"), "file_size": soft("FSIZE"),
}}))
"""


def probe(run: Callable[[str], str]) -> dict[str, Any]:
    """Let `run` (code to its standard output) try; what each try came to, `{}` if it did not."""
    with tempfile.NamedTemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as listener:
        os.chmod(file.name, 0o644)
        address = list(listener.getsockname())
        tries = _TRIES.format(file=file.name, address=address, pid=os.getpid())
        try:
            found: dict[str, Any] = json.loads(run(tries))
        except ValueError:
            return {}
        return found


def isolated(found: dict[str, Any]) -> bool:
    """Whether the machine's files, network and processes were out of reach, and rights gone."""
    return (
        found.get("file") == "ENOENT"
        and found.get("network") in ("ENETUNREACH", "EPERM", "EAFNOSUPPORT")
        and found.get("process") == "ESRCH"
        and found.get("mount") == -1
        and found.get("no_new_privs") == 1
    )


def describe(found: dict[str, Any], watched: bool, memory_mib: int) -> list[str]:
    """What was seen to be active, in words for the card."""
    if isolated(found):
        lines = [
            "own network, mount, process and IPC namespaces",
            f"a root without our files, read-only: {' '.join(found['root'])}; own scratch each run",
            "no capabilities, none to be gained",
        ]
    else:
        lines = ["NO isolation from network and files"]
    filtered = found.get("filter") == 2
    lines.append(
        "seccomp filter of system calls" if filtered else "seccomp NOT active (no libseccomp)"
    )
    group = "all its processes together" if watched else "each process (the group is NOT measured)"
    return [*lines, f"memory and processor time limited for {group}: {memory_mib} MiB"]
