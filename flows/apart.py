"""Start a process of ours that goes on when its starter ends: in a session of its own."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def start_apart(module: str, argument: Path, log: Path) -> int:
    """Run `python -m MODULE ARGUMENT`, with its output added to `log`; returns its process id."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-m", module, str(argument)], os.environ, setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )  # fmt: skip
    # so that it leaves no zombie where the starter lives on
    threading.Thread(target=os.waitpid, args=(pid, 0), daemon=True).start()
    return pid
