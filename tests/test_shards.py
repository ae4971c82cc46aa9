"""A pass over shards in this machine's processes: who is killed, and what that costs."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.shards import run_shards
from pipeline.stage import Workplace


@dataclass(frozen=True)
class Deadly:
    """Work that leaves its process's number, and at rank 1 what it is told to do once."""

    seen: Path
    once: str = ""  # kill, sleep

    def __call__(self, rank, world_size):
        with (self.seen / str(rank)).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if rank == 1 and not (self.seen / "did").exists():
            (self.seen / "did").touch()
            if self.once == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.once == "sleep":
                time.sleep(60)
        return Ledger("rows", 2, 1, {"odd": 1})


def run(home, once=""):
    (home / "seen").mkdir(exist_ok=True)
    place = Workplace("clean", home / "out", home, 0, {}, {})
    return run_shards(place, "reading", Deadly(home / "seen", once), "rows", 3, 2)


def processes(home):
    return [int(line) for path in home.glob("seen/[0-9]") for line in path.read_text().split()]


def test_a_killed_process_is_one_clear_line_and_no_endless_wait(tmp_path):
    with pytest.raises(StageError, match=r"a process was killed .* pass 'reading'.*lower workers"):
        run(tmp_path, "kill")
    assert run(tmp_path).kept == 3


def test_no_process_outlives_a_killed_driver(tmp_path):
    script = "import sys, pathlib, test_shards; test_shards.run(pathlib.Path(sys.argv[1]), 'sleep')"
    driver = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        cwd=Path(__file__).parents[1],
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "seen" / "did").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.kill()
    driver.wait(10)
    while any(psutil.pid_exists(pid) for pid in processes(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert run(tmp_path).kept == 3
