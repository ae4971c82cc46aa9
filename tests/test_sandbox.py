"""Unread code stays inside: what it reports, what it leaves behind, and when it is refused."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from conftest import open_sandbox
from pipeline import sandbox_filter, sandbox_link
from pipeline.errors import StageError
from pipeline.sandbox import Sandbox, SandboxConfig

LIMITS = SandboxConfig(
    cpu_seconds=2, wall_seconds=20, memory_mib=128, output_bytes=20_000, processes=16
)
ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("code", "exit_code", "stdout", "in_problem"),
    [
        ("print('naïve', 6 * 7)", 0, "naïve 42\n", ""),
        ("raise SystemExit(3)", 3, "", "exit code 3"),
        ("def f(:", 1, "", "SyntaxError"),
        ("x = '\\udc80'\nprint(1)", 0, "1\n", ""),
        ("1 / 0", 1, "", "ZeroDivisionError: division by zero"),
        ("import os; os.abort()", -signal.SIGABRT, "", "exit code -6"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "", "-15"),
        ("import sys; print(sys.stdin.read() == '', __name__)", 0, "True __main__\n", ""),
        ("print(input())", 1, "", "EOFError"),
        ("import atexit; atexit.register(print, 'end')\nprint('begin')", 0, "begin\nend\n", ""),
        ("import threading, time\n"
         "threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()",
         0, "late\n", ""),
        ("import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\nprint(A(1))",
         0, "A(x=1)\n", ""),
        ("import subprocess, sys\n"
         "print(subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True).stdout)",
         0, "b'5\\n'\n", ""),
    ],
)  # fmt: skip
def test_it_tells_what_the_code_printed_and_how_it_ended(
    sandbox, code, exit_code, stdout, in_problem
):
    done = sandbox.run(code)
    assert (done.exit_code, done.stdout, done.stopped_by) == (exit_code, stdout, None)
    assert in_problem in done.problem
    assert done.ok == (exit_code == 0)


def test_an_error_is_told_as_a_script_would_tell_it(sandbox):
    lines = sandbox.run("def f():\n    return 1 / 0\n\nf()").stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.split(", ")[1] for line in lines[1:3]] == ["line 4", "line 2"]


def test_nothing_is_left_from_one_run_to_the_next(sandbox):
    first = "import os, math, builtins\nopen('note', 'w').write('x')\nmath.pi = 3\nbuiltins.x = 1\n"
    assert sandbox.run(first + "os.environ['A'] = 'b'\nprint(os.listdir())").stdout == "['note']\n"
    second = "import os, math\nprint(os.listdir(), math.pi > 3, 'A' in os.environ, 'x' in dir())"
    assert sandbox.run(second).stdout == "[] True False False\n"
    assert "NameError" in sandbox.run("print(x)").problem


def test_its_random_numbers_differ_and_its_hashes_do_not(sandbox):
    twice = [sandbox.run("import random; print(random.random())").stdout for _ in range(2)]
    assert twice[0] != twice[1]
    hashes = {sandbox.run("print(hash('word'))").stdout for _ in range(2)}
    assert len(hashes) == 1


def test_threads_run_side_by_side_each_with_its_own_helper(sandbox):
    results = {}

    def work(i):
        results[i] = sandbox.run(f"import time; time.sleep(0.2); print({i})").stdout

    many = 2 * os.cpu_count() + 2
    threads = [threading.Thread(target=work, args=(i,)) for i in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: f"{i}\n" for i in range(many)}
    assert 1 < len(sandbox._idle) <= 2 * os.cpu_count()


def test_bytes_that_are_no_text_are_counted_as_they_were_written(sandbox):
    done = sandbox.run("import os\nos.write(1, b'\\xff' * 15_000)")
    assert (done.stdout, done.stopped_by) == ("\ufffd" * 15_000, None)


def test_without_a_place_for_output_the_stage_stops_and_later_runs_are_right(sandbox, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/no/such/folder")
        with pytest.raises(StageError, match="no place for code and output"):
            sandbox.run("print(1)")
    assert sandbox.run("print(2)").stdout == "2\n"


def test_a_lost_helper_is_replaced_and_the_code_runs_again(sandbox):
    helper = sandbox._idle[-1]
    os.kill(helper._process.pid, signal.SIGKILL)
    assert sandbox.run("print(1)").stdout == "1\n"


def test_closing_ends_the_helpers_and_so_does_forgetting():
    for end in (lambda box: box.close(), lambda box: None):
        box = open_sandbox(LIMITS)
        box.run("pass")
        pid = box._idle[-1]._process.pid
        assert Path(f"/proc/{pid}").exists()
        end(box)
        del box
        gc.collect()
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("sandbox")  # where there is none, there is nothing to kill
def test_nothing_survives_a_kill_of_the_program_that_opened_it(tmp_path):
    mark = f"primer-{tmp_path.name}-{os.getpid()}"
    code = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', "
        f"'import time; time.sleep(60)', {mark!r}])"
    )
    script = (
        "from pipeline.sandbox import *\nprint('open', flush=True)\n"
        f"Sandbox('test', SandboxConfig(wall_seconds=100)).run({code!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as it:
        assert it.stdout.readline() == b"open\n"
        assert waits_for(lambda: mark in command_lines(it.pid))
        it.kill()
    assert waits_for(lambda: mark not in command_lines(it.pid))


def waits_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def command_lines(besides):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(
                "" if path.parent.name == str(besides) else path.read_text(errors="replace")
            )
        except OSError:
            continue  # it ended while we looked
    return "\n".join(found)


# The helper of this test lives where the kernel says no: its own call of the kernel fails.
REFUSING = (
    "import sys; sys.path.append(sys.argv[2]); from pipeline import sandbox_kernel as k\n"
    "def refuse(kinds): raise OSError(1, 'unshare: Operation not permitted')\n"
    "k.unshare = refuse\n"
)


def test_without_namespaces_code_is_refused_unless_the_recipe_takes_the_risk(monkeypatch):
    monkeypatch.setattr(sandbox_link, "_START", REFUSING + sandbox_link._START)
    with pytest.raises(StageError, match=r"gives no namespaces.*sandbox\.allow_unprotected"):
        Sandbox("test", LIMITS)
    risky = Sandbox(
        "test", LIMITS.model_copy(update={"allow_unprotected": True, "wall_seconds": 0.7})
    )
    assert "NO isolation from network and files" in risky.protection
    assert risky.run("print(1)").stdout == "1\n"
    assert "MemoryError" in risky.run("bytearray(10**9)").problem
    assert risky.run("import time; time.sleep(60)").timed_out
    risky.close()


def test_the_protection_is_told_for_the_card(sandbox):
    told = " ".join(sandbox.protection)
    expected = (
        "2 s",
        "128 MiB",
        "20000 bytes",
        "own network",
        "root without our files",
        "together",
    )
    assert all(word in told for word in expected)
    assert "NO isolation" not in told
    assert ("seccomp filter" in told) == (sandbox_filter.compile_filter() is not None)


def test_without_libseccomp_the_card_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    box = open_sandbox(LIMITS)
    assert any("seccomp NOT active" in line for line in box.protection)
    assert box.run("print(1)").ok
    box.close()


PLAIN = """
from pipeline.sandbox import Sandbox, SandboxConfig
box = Sandbox('test', SandboxConfig(cpu_seconds=2, memory_mib=128, processes=16))
print(*box.protection, sep='\\n')
for code in ("import os\\nwhile True: os.fork()", "open('/usr/planted', 'w')",
             "import os\\nos.kill(1, 9)\\nprint(os.getpid())", "bytearray(10**9)",
             "import os\\nos.killpg(0, 10)",
             "import os, time\\nfor _ in range(9):\\n    if os.fork() == 0:\\n        break\\n"
             "x = b'x' * (30 * 2**20)\\ntime.sleep(9)"):
    done = box.run(code)
    print(done.problem, done.stdout)
"""


def plain_python():
    """An interpreter that a plain user may start: ours may lie in the home of root."""
    path = os.pathsep.join([str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))])
    for python in (os.path.realpath(sys.executable), f"/usr/bin/python3.{sys.version_info[1]}"):
        started = {"env": {"PYTHONPATH": path}, "user": 65_534, "group": 65_534}
        try:
            import_it = [python, "-c", "import pydantic"]
            subprocess.run(import_it, check=True, capture_output=True, extra_groups=[], **started)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python, started
    pytest.skip("a plain user can start no Python of this version here")


@pytest.mark.skipif(os.geteuid() != 0, reason="this user is plain already")
def test_a_plain_user_has_the_same_walls():
    python, started = plain_python()
    done = subprocess.run(
        [python, "-c", PLAIN], cwd="/", capture_output=True, text=True, check=False,
        extra_groups=[], **started,
    )  # fmt: skip
    if "gives no namespaces" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    told = ("own network, mount, process", "together: 128 MiB", "BlockingIOError", "MemoryError",
            "Read-only file system", "limit of memory", "message 2\n", "exit code -10")  # fmt: skip
    assert [words for words in told if words not in done.stdout] == [], done.stderr + done.stdout
