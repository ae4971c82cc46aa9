"""What several test files use and is dear to make: made once for all of pytest's workers."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

SHARED = "PRIMER_SHARED_BY_TESTS"


def begin() -> None:
    """In the process that starts the workers: they inherit the folder's name."""
    os.environ[SHARED] = tempfile.mkdtemp(prefix="primer-tests-")


def end() -> None:
    """When all workers have ended."""
    shutil.rmtree(os.environ.pop(SHARED), ignore_errors=True)


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A directory that `make(directory)` has filled; whoever comes later waits for it."""
    folder = Path(os.environ[SHARED]) / name
    with FileLock(f"{folder}.lock"):
        done = folder.with_suffix(".done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a try that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
