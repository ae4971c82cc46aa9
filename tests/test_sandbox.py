"""Unread code stays inside: every wall and every limit, tried for real by code that wants out."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from pipeline import sandbox as module
from pipeline.errors import StageError
from pipeline.sandbox import Sandbox, SandboxConfig

LIMITS = SandboxConfig(
    cpu_seconds=1, wall_seconds=5, memory_mib=128, output_bytes=20_000, processes=16
)
ESCAPE = """
import os
os.mkdir("inner")
outside = os.open("/", os.O_RDONLY)
os.chroot("inner")
os.fchdir(outside)
for _ in range(40):
    os.chdir("..")
os.chroot(".")
print(os.listdir("/"))
"""
BACKGROUND = """
import os, sys, time
mine, its = os.pipe()
os.set_inheritable(its, True)
if os.fork() == 0:
    os.setsid()
    wait = "import os, sys, time; os.write(int(sys.argv[1]), b'alive'); time.sleep(60)"
    os.execv(sys.executable, ["python", "-c", wait, str(its), {mark!r}])
print(os.read(mine, 5), flush=True)
{then}
"""


def opened(**limits):
    try:
        return Sandbox("test", LIMITS.model_copy(update=limits))
    except StageError as error:
        pytest.skip(f"nothing to test here: {error}")


@pytest.fixture(scope="module")
def sandbox():
    return opened()


@pytest.fixture
def fresh():
    """The search for namespaces is remembered; these tests change what it finds."""
    module._namespaces.cache_clear()
    yield
    module._namespaces.cache_clear()


@pytest.mark.parametrize(
    ("code", "exit_code", "stdout", "in_stderr"),
    [
        ("print('naïve', 6 * 7)", 0, "naïve 42\n", ""),
        ("raise SystemExit(3)", 3, "", ""),
        ("def f(:", 1, "", "SyntaxError"),
        ("1 / 0", 1, "", "ZeroDivisionError"),
        ("import os; os.abort()", -signal.SIGABRT, "", "Aborted"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "", ""),
    ],
)
def test_it_tells_what_the_code_printed_and_how_it_ended(
    sandbox, code, exit_code, stdout, in_stderr
):
    done = sandbox.run(code)
    assert (done.exit_code, done.stdout, done.timed_out) == (exit_code, stdout, False)
    assert in_stderr in done.stderr
    assert done.ok == (exit_code == 0)


def test_a_sleeper_is_killed_after_the_wall_time():
    clock = time.perf_counter()
    done = opened(wall_seconds=0.5).run("import time\nwhile True: time.sleep(1)")
    assert done.timed_out
    assert not done.ok
    assert time.perf_counter() - clock < 4


def test_a_busy_loop_is_killed_after_the_processor_time(sandbox):
    done = sandbox.run("while True: pass")
    assert (done.exit_code, done.timed_out, done.ok) == (-signal.SIGKILL, False, False)


@pytest.mark.parametrize("code", ["bytearray(10**9)", "a = []\nwhile True: a.append(bytes(10**6))"])
def test_memory_ends_at_the_limit(sandbox, code):
    done = sandbox.run(code)
    assert done.exit_code == 1
    assert "MemoryError" in done.stderr


def test_processes_end_at_the_limit(sandbox):
    count = "if os.fork() == 0: time.sleep(60)\n        n += 1"
    done = sandbox.run(
        f"import os, time\nn = 0\ntry:\n    while True:\n        {count}\n"
        "except BlockingIOError:\n    print(n)"
    )
    assert 5 < int(done.stdout) <= LIMITS.processes


def test_a_fork_bomb_leaves_the_next_run_unharmed(sandbox):
    assert not sandbox.run("import os\nwhile True: os.fork()").ok
    assert sandbox.run("print('still here')").stdout == "still here\n"


@pytest.mark.parametrize(
    ("content", "most_files"), [("b'x' * 20_000", 64 * 2**20 // 20_000), ("b''", 10_240)]
)
def test_files_end_where_the_scratch_is_full(sandbox, content, most_files):
    write = f"open(str(n), 'wb').write({content})"
    done = sandbox.run(
        f"n = 0\ntry:\n    while True:\n        {write}\n        n += 1\n"
        "except OSError as error:\n    print(n, error.strerror)"
    )
    written, _, reason = done.stdout.partition(" ")
    assert 0.9 * most_files < int(written) <= most_files
    assert reason == "No space left on device\n"


def test_a_file_and_the_output_end_at_their_bytes(sandbox):
    writes = "f = open('f', 'wb', 0)\nprint(f.write(bytes(20_000)), flush=True)\nf.write(b'x')"
    long_file = sandbox.run(writes)
    assert long_file.stdout == "20000\n"
    assert "File too large" in long_file.stderr
    chatter = sandbox.run("while True: print('y' * 99)")
    assert not chatter.ok
    assert 0 < len(chatter.stdout) <= LIMITS.output_bytes


def test_it_cannot_reach_a_socket_of_this_machine(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        socket.create_connection(address, 1).close()  # from outside it can be reached
        listener.accept()[0].close()
        done = sandbox.run(f"import socket\nsocket.create_connection({address!r}, 2)")
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert done.exit_code == 1
    assert "Network is unreachable" in done.stderr


def test_our_files_do_not_exist_for_it(sandbox, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("key")
    ours = [str(secret), __file__, "/etc/passwd", "/proc/1/environ", str(Path.home() / ".profile")]
    done = sandbox.run(
        f"for path in {ours!r}:\n    try:\n        print(open(path).read())\n"
        "    except OSError as error:\n        print(type(error).__name__)"
    )
    assert done.stdout.splitlines() == ["FileNotFoundError"] * len(ours)


def test_it_writes_nowhere_but_in_its_scratch(sandbox):
    libraries = [str(Path(os.__file__).parent), "/usr/bin"]
    done = sandbox.run(
        "open('note', 'w').write('kept for this run')\nprint(open('note').read())\n"
        f"for folder in {libraries!r}:\n    try:\n        open(folder + '/planted', 'w')\n"
        "    except OSError:\n        print('refused')"
    )
    assert done.stdout.splitlines() == ["kept for this run", *["refused"] * 2]
    assert sandbox.run("import os; print(os.listdir())").stdout == "[]\n"


def test_it_cannot_see_or_signal_other_processes(sandbox):
    done = sandbox.run(
        "import os\nprint(os.path.exists('/proc/self'))\n"
        f"try:\n    os.kill({os.getpid()}, 0)\nexcept ProcessLookupError:\n    print('nobody')"
    )
    assert done.stdout == "False\nnobody\n"


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are read in /proc")
@pytest.mark.parametrize("then", ["", "time.sleep(60)"])
def test_a_child_that_went_to_the_background_dies_with_it(tmp_path, then):
    mark = f"primer-{tmp_path.name}-{os.getpid()}"
    done = opened(wall_seconds=1.5).run(BACKGROUND.format(mark=mark, then=then))
    assert done.stdout == "b'alive'\n"
    assert done.timed_out == bool(then)
    deadline = time.monotonic() + 2
    while mark in command_lines() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mark not in command_lines()


def command_lines():
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue  # it ended while we looked
    return "\n".join(found)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("user", ["this user", "a plain user, root of a namespace of its own"])
def test_it_cannot_leave_its_root_or_gain_rights(monkeypatch, user):
    if user != "this user":
        monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    sandbox = opened()
    escaped = sandbox.run(ESCAPE)
    assert escaped.exit_code == 1
    assert "PermissionError" in escaped.stderr
    asked = "import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"  # PR_GET_NO_NEW_PRIVS
    assert sandbox.run(asked).stdout == "1\n"


@pytest.mark.usefixtures("fresh")
def test_without_namespaces_code_is_refused_unless_the_recipe_takes_the_risk(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StageError, match=r"gives no namespaces.*sandbox\.allow_unprotected"):
        Sandbox("test", LIMITS)
    risky = Sandbox("test", LIMITS.model_copy(update={"allow_unprotected": True}))
    assert "NO isolation from network and files" in risky.protection
    if sys.platform == "linux":
        assert "MemoryError" in risky.run("bytearray(10**9)").stderr


def test_the_protection_is_told_for_the_card(sandbox):
    told = " ".join(sandbox.protection)
    assert all(word in told for word in ("1 s", "128 MiB", "20000 bytes", "own network", "root"))
    assert "NO isolation" not in told
