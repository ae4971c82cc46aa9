"""Code that wants out, or wants everything: each way really tried, and contained."""

import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.sandbox_filter import compile_filter

LIMITS = SandboxConfig(
    cpu_seconds=1,
    wall_seconds=8,
    memory_mib=128,
    output_bytes=20_000,
    processes=16,
    scratch_mib=8,
)
SHORT = LIMITS.model_copy(update={"wall_seconds": 0.7})  # for what only waits
GRACE_S = 3  # a busy machine is late to kill
FILTERED = pytest.mark.skipif(compile_filter() is None, reason="needs libseccomp")
CALL = "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
TRY = "\ntry:\n    {attempt}\nexcept OSError as error:\n    print(type(error).__name__)\n"
BACKGROUND = """
import os, sys, time
mine, its = os.pipe()
os.set_inheritable(its, True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        wait = "import os, sys, time; os.write(int(sys.argv[1]), b'alive'); time.sleep(60)"
        os.execv(sys.executable, ["python", "-c", wait, str(its), {mark!r}])
    os._exit(0)
print(os.read(mine, 5), flush=True)
{then}
"""


@pytest.fixture(scope="module")
def short(sandbox):
    opened = Sandbox("test", SHORT)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def nothing_is_left(sandbox, short):
    """After every attack: no process but the helpers, no mount, no file, and the next code runs."""
    helpers = pids_of_helpers(sandbox, short)
    mounts, files = Path("/proc/self/mounts").read_text(), set(os.listdir(os.getcwd()))
    yield
    assert pids_of_helpers(sandbox, short) == helpers
    for pid in helpers:
        inside = children_of(pid)
        assert len(inside) == 1
        assert children_of(inside[0]) == []
    assert Path("/proc/self/mounts").read_text() == mounts
    assert set(os.listdir(os.getcwd())) == files
    look = "import os; print(os.listdir('/tmp'), os.listdir())"
    assert sandbox.run(look).stdout == "['work'] []\n"


def pids_of_helpers(*sandboxes):
    return {helper._process.pid for box in sandboxes for helper in box._idle}


def children_of(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


EXHAUSTING = {
    "endless loop": ("while True: pass", "processor_time"),
    "fork bomb": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
                  "processor_time"),
    "thread bomb": ("import threading, time\nwhile True:\n"
                    "    threading.Thread(target=time.sleep, args=(0.5,)).start()", None),
    "busy processes, each under the limit": (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0: break\n"
        "end = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(9)",
        "processor_time"),
    "memory of one": ("a = []\nwhile True: a.append(bytes(10**6))", None),
    "memory of many": ("import os, time\nfor _ in range(9):\n    if os.fork() == 0: break\n"
                       "x = b'x' * (30 * 2**20)\ntime.sleep(9)", "memory"),
    "memory that is shared": ("import mmap, os, time\nfor _ in range(9):\n"
                              "    if os.fork() == 0: break\n"
                              "m = mmap.mmap(-1, 30 * 2**20)\n"
                              "m.write(b'x' * (20 * 2**20)); time.sleep(9)", "memory"),
    "print of 1 GB": ("import sys\nfor _ in range(1000): sys.stdout.write('x' * 10**6)", "output"),
    "endless print": ("while True:\n    try: print('y' * 99, flush=True)\n    except OSError: pass",
                      "processor_time"),
    "endless errors": ("import sys\nwhile True: sys.stderr.write('y' * 99)", "output"),
}  # fmt: skip
WAITING = {
    "sleep": "import time\nwhile True: time.sleep(1)",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "stops its group": "import os, signal\nos.kill(0, signal.SIGSTOP)",
    "ignores signals": "import signal, time\nfor n in range(1, 65):\n"
                       "    try: signal.signal(n, signal.SIG_IGN)\n"
                       "    except (OSError, ValueError): pass\ntime.sleep(60)",
}  # fmt: skip


def timed(sandbox, code):
    clock = time.perf_counter()
    return sandbox.run(code), time.perf_counter() - clock


@pytest.fixture(scope="module")
def exhausted(sandbox):
    """All of them side by side: what waits for its end should not wait alone."""
    with ThreadPoolExecutor(4) as pool:
        codes = [code for code, _ in EXHAUSTING.values()]
        return dict(zip(EXHAUSTING, pool.map(partial(timed, sandbox), codes), strict=True))


@pytest.mark.parametrize("name", WAITING)
def test_what_only_waits_is_killed_in_time(short, name):
    done, took_s = timed(short, WAITING[name])
    assert (done.stopped_by, done.ok) == ("wall_time", False)
    assert took_s < SHORT.wall_seconds + GRACE_S


@pytest.mark.parametrize("name", EXHAUSTING)
def test_what_takes_all_it_can_get_is_stopped_and_the_reason_is_told(exhausted, name):
    stopped_by = EXHAUSTING[name][1]
    done, took_s = exhausted[name]
    assert took_s < LIMITS.wall_seconds + GRACE_S
    assert not done.ok
    assert len(done.stdout) <= LIMITS.output_bytes
    assert len(done.stderr) <= LIMITS.output_bytes
    late = "wall_time"  # on a machine so busy that a second of work takes longer
    assert done.stopped_by in (stopped_by, late)
    if done.stopped_by is None:
        assert "MemoryError" in done.problem or "can't start new thread" in done.problem


@pytest.mark.parametrize(
    ("content", "most_files"), [("b'x' * 20_000", 8 * 2**20 // 20_000), ("b''", 10_000)]
)
def test_files_end_where_the_scratch_is_full(sandbox, content, most_files):
    done = sandbox.run(
        f"n = 0\ntry:\n    while True:\n        open(str(n), 'wb').write({content})\n"
        "        n += 1\nexcept OSError as error:\n    print(n, error.strerror)"
    )
    if done.stopped_by is None:
        written, _, reason = done.stdout.partition(" ")
        assert 0.9 * most_files < int(written) <= most_files
        assert reason == "No space left on device\n"


def test_one_file_ends_at_its_bytes(sandbox):
    done = sandbox.run("f = open('f', 'wb', 0)\nprint(f.write(bytes(20_000)))\nf.write(b'x')")
    assert done.stdout == "20000\n"
    assert "File too large" in done.problem


def test_it_reads_none_of_our_files(sandbox, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("key")
    ours = [str(secret), __file__, "/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self",
            "/sys/kernel", "/dev/sda", "/dev/mem", str(Path.home() / ".profile"), "/run", "/var",
            str(Path.cwd())]  # fmt: skip
    done = sandbox.run(f"import os\nprint([path for path in {ours!r} if os.path.exists(path)])")
    assert done.stdout == "[]\n"
    home = Path.home()  # Python itself may live in it
    beside = [str(p) for p in home.iterdir() if p not in Path(sys.base_prefix).parents]
    done = sandbox.run(f"import os\nprint([path for path in {beside!r} if os.path.exists(path)])")
    assert done.stdout == "[]\n"


def test_secrets_of_the_environment_are_not_in_its_own(sandbox, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sk-secret")
    fresh = Sandbox("test", LIMITS)
    for box in (fresh, sandbox):
        assert "sk-secret" not in box.run("import os; print(dict(os.environ))").stdout
        assert "home" not in box.run("import os; print(os.environ['HOME'])").stdout
    fresh.close()


@pytest.mark.parametrize("links", ["os.symlink('/etc', 'l')", "os.symlink('../../..', 'l')"])
def test_links_lead_nowhere_new(sandbox, links):
    done = sandbox.run(f"import os\n{links}\nprint(os.path.exists('l/passwd'), "
                       "os.path.realpath('l').startswith(('/etc', '/')))")  # fmt: skip
    assert done.stdout == "False True\n"
    outside = "open('l/planted', 'w')"
    assert "Error" in sandbox.run(f"import os\n{links}\n{outside}").problem


def test_it_writes_nowhere_but_in_its_scratch(sandbox):
    places = [str(Path(os.__file__).parent), "/usr/bin", "/", "/dev", "/usr/lib", "/lib"]
    done = sandbox.run(
        f"import os\nfor folder in {places!r}:\n"
        "    try:\n        open(folder + '/planted', 'w')\n"
        "    except OSError as error:\n        print(error.strerror)"
    )
    assert set(done.stdout.splitlines()) <= {"Read-only file system", "Permission denied"}
    assert len(done.stdout.splitlines()) == len(places)


def test_removing_its_root_removes_only_its_scratch(sandbox):
    done = sandbox.run(
        "import json, os, shutil\nfor place in ('/tmp', '/dev', os.path.dirname(json.__file__)):\n"
        "    shutil.rmtree(place, ignore_errors=True)\nprint('gone')"
    )
    assert done.stdout == "gone\n"
    assert sandbox.run("import json, os; print(os.path.exists(os.__file__))").stdout == "True\n"


def test_no_socket_leads_out_or_to_this_machine(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        socket.create_connection(address, 1).close()  # from outside it can be reached
        listener.accept()[0].close()
        for target in (address, ("1.1.1.1", 53)):
            done = sandbox.run(f"import socket\nsocket.create_connection({target!r}, 2)")
            assert "Network is unreachable" in done.problem
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_no_abstract_socket_of_this_machine_is_there(sandbox):
    name = f"\0primer-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        done = sandbox.run(f"import socket\nsocket.socket(socket.AF_UNIX).connect({name!r})")
    assert "Connection refused" in done.problem


@FILTERED
@pytest.mark.parametrize("family", ["VSOCK", "NETLINK", "ALG", "PACKET", "CAN"])
def test_sockets_that_no_namespace_holds_are_refused(sandbox, family):
    done = sandbox.run(f"import socket\nsocket.socket(socket.AF_{family}, socket.SOCK_RAW)")
    assert "Address family not supported" in done.problem


REFUSED_CALLS = (
    "ptrace(0, 0, 0, 0)", "mount(b'none', b'/tmp', b'tmpfs', 0, None)", "umount2(b'/tmp', 2)",
    "unshare(0x10000000)", "setns(0, 0)", "chroot(b'/tmp')", "pivot_root(b'/', b'/')",
    "syscall({keyctl}, 0, 0, 0, 0, 0)", "syscall({bpf}, 0, 0, 0)", "syscall({userfaultfd}, 0)",
    "syscall({io_uring_setup}, 1, 0)", "memfd_create(b'x', 0)", "personality(0x0400000)",
    "syscall({clone}, 0x10000000, 0, 0, 0, 0)", "sethostname(b'x', 1)", "reboot(0)",
)  # fmt: skip


@FILTERED
def test_calls_of_the_kernel_for_no_honest_code_are_refused(sandbox):
    import pyseccomp

    names = ("keyctl", "bpf", "userfaultfd", "io_uring_setup", "clone")
    numbers = {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in names}
    tried = "".join(
        f"ctypes.set_errno(0)\nprint({call!r}, libc.{call.format(**numbers)}, "
        "errno.errorcode.get(ctypes.get_errno()))\n"
        for call in REFUSED_CALLS
    )
    seen = sandbox.run(CALL + tried).stdout.splitlines()
    assert seen == [f"{call} -1 EPERM" for call in REFUSED_CALLS]


def test_it_has_no_rights_and_gains_none(sandbox):
    asked = "print(libc.prctl(39, 0, 0, 0, 0), [libc.prctl(23, n, 0, 0, 0) for n in (0, 21, 39)])"
    assert sandbox.run(CALL + asked).stdout == "1 [0, 0, 0]\n"  # no new rights, none bound
    for attempt in ("os.setuid(0)", "os.setgid(5)", "os.chown('/usr', 1, 1)",
                    "os.mknod('d', 0o60600, os.makedev(8, 0))"):  # fmt: skip
        done = sandbox.run("import os" + TRY.format(attempt=attempt))
        # a plain user's code is already number 0 of a user namespace, which is nobody outside
        plain = attempt == "os.setuid(0)" and os.geteuid() != 0
        assert plain or done.stdout in ("PermissionError\n", "OSError\n")


def test_it_cannot_see_or_signal_others(sandbox):
    done = sandbox.run(
        "import os, signal\n" + TRY.format(attempt=f"os.kill({os.getpid()}, 0)")
        + TRY.format(attempt="os.kill(os.getppid(), signal.SIGKILL)")
        + TRY.format(attempt="os.kill(-1, 0)") + "print(os.getppid())"
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "ProcessLookupError"
    assert done.stdout.splitlines()[-1] == "1"  # its parent is still there
    assert done.ok


def test_only_three_files_are_open_to_it(sandbox):
    looked = (
        "import os\nfor n in range(256):\n    try: os.fstat(n); print(n)\n    except OSError: 0"
    )
    assert sandbox.run(looked).stdout.split() == ["0", "1", "2"]


def test_nothing_passes_from_run_to_run_through_the_kernel(sandbox):
    keep = "libc.shmget(77, 4096, 0o1666)"
    assert sandbox.run(CALL + f"print({keep})").ok
    assert sandbox.run(CALL + "print(libc.shmget(77, 4096, 0o666))").stdout == "-1\n"


@pytest.mark.parametrize("then", ["", "time.sleep(60)"])
def test_a_child_that_went_to_the_background_dies_with_it(sandbox, short, tmp_path, then):
    mark = f"primer-{tmp_path.name}-{os.getpid()}"
    done = (short if then else sandbox).run(BACKGROUND.format(mark=mark, then=then))
    assert done.stdout == "b'alive'\n"
    assert done.timed_out == bool(then)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert mark not in path.read_text(errors="replace")
        except OSError:
            continue  # it ended while we looked


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_to_its_own_group_reaches_itself_alone(sandbox, signal_name):
    done = sandbox.run(f"import os, signal\nos.killpg(0, signal.{signal_name})")
    assert done.exit_code in (-getattr(signal, signal_name), 1)
    assert done.stopped_by is None


@FILTERED
def test_buffers_of_sockets_hold_little(sandbox):
    """They belong to no process, so that no limit of memory sees them."""
    done = sandbox.run(
        "import socket\nhere, there = socket.socketpair()\nhere.setblocking(False)\n"
        "here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10**9)\nsent = 0\n"
        "try:\n    while True: sent += here.send(bytes(60_000))\n"
        "except BlockingIOError: print(sent)\n"
        "held = []\ntry:\n    while True: held += socket.socketpair()\n"
        "except OSError: print(len(held))"
    )
    sent_bytes, more_sockets = map(int, done.stdout.split())
    assert sent_bytes * (more_sockets + 2) < 20 * 2**20


def test_code_that_replaces_the_ways_out_has_failed_all_the_same(sandbox):
    hidden = "import sys\nsys.exit = print\nsys.excepthook = lambda *_: None\n1 / 0"
    assert sandbox.run(hidden).exit_code == 1


def test_two_sandboxes_share_no_limit(sandbox, short):
    """A fork bomb in one must not make a fork in the other fail."""
    bomb = threading.Thread(target=short.run, args=(EXHAUSTING["fork bomb"][0],))
    bomb.start()
    forks = "import os\nfor _ in range(5):\n    if os.fork() == 0: os._exit(0)\nprint('fine')"
    seen = {sandbox.run(forks).problem}
    while bomb.is_alive():
        seen.add(sandbox.run(forks).problem)
    assert seen == {"exit code 0, no message"}
