"""The kill loop, short: one death of everything and one of the flow's process, then the bytes."""

import subprocess
import sys
from pathlib import Path

import pytest
from dying_machine import free_port, postgres_bin


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_after_two_kills_the_outputs_are_those_of_an_undisturbed_run():
    if postgres_bin() is None:
        pytest.skip("PostgreSQL is not installed")
    loop = Path(__file__).with_name("kill_loop.py")
    command = [sys.executable, str(loop), "--kills", "2", "--seed", "3", "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1_500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"wrong": []' in done.stdout
