"""Run a piece of Python that nobody has read: alone, without network, without our files.

On Linux the code runs in namespaces of its own (`unshare`): no network, its own process ids, and a
root that holds Python, the shared libraries and an empty scratch directory, nothing else. Limits of
CPU, memory, file size and processes are set inside; output goes to files that the same limit caps;
after the time limit the whole group is killed, and the process namespace dies with its first
process. Where namespaces are refused, so is the code, unless the recipe allows it without.

Cost: about 50 ms a run on one core, half of it Python's start.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pipeline.config import Section
from pipeline.errors import StageError

_NOBODY = 65_534


class SandboxConfig(Section):
    """How much a piece of code may take."""

    cpu_seconds: int = Field(5, ge=1, le=600, description="Processor time of one process.")
    wall_seconds: float = Field(10, gt=0, le=600, description="Time until it is killed.")
    memory_mib: int = Field(512, ge=64, le=16_384, description="Address space of one process.")
    output_bytes: int = Field(
        100_000, ge=1_000, le=10_000_000, description="Of its output, and of any file it writes."
    )
    processes: int = Field(32, ge=1, le=1_024, description="Processes and threads at once.")
    allow_unprotected: bool = Field(
        False, description="Run code even where the kernel offers no namespaces: your own risk."
    )


@dataclass(frozen=True)
class Execution:
    """What a piece of code did. `exit_code` is negative for the signal that ended it."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool

    @property
    def ok(self) -> bool:
        """Whether it ran to its end by itself."""
        return self.exit_code == 0 and not self.timed_out


@functools.cache
def _namespaces() -> tuple[str, ...] | None:
    """The `unshare` call that works here, or None. A root user gives its rights up inside."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        return None
    own_user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    call = ("unshare", *own_user, "--net", "--mount", "--pid", "--fork", "--kill-child")
    tried = subprocess.run(
        [*call, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    return call if tried.returncode == 0 else None


class Sandbox:
    """A place to run code in; open it once and run many."""

    def __init__(self, stage: str, config: SandboxConfig) -> None:
        self.config = config
        if _namespaces() is None and not config.allow_unprotected:
            raise StageError(
                stage,
                "this kernel gives no namespaces to run unread code in",
                "allow unprivileged user namespaces, or set sandbox.allow_unprotected at your risk",
            )

    @property
    def protection(self) -> list[str]:
        """What stands between the code and the machine, for the card."""
        limits = self.config
        active = [
            f"CPU {limits.cpu_seconds} s, {limits.wall_seconds:g} s in all",
            f"memory {limits.memory_mib} MiB, output {limits.output_bytes} bytes",
            "killed as a group",
        ]
        if _namespaces() is None:
            return [*active, "NO isolation from network and files"]
        return [*active, "own network, mount and process namespaces", "root without our files"]

    def run(self, code: str) -> Execution:
        """Run `code` as a script fed on standard input, to its end or to a limit."""
        with tempfile.TemporaryDirectory(prefix="primer-sandbox-") as name:
            home = Path(name)
            (home / "code.py").write_text(code)
            root = home / "root"
            root.mkdir()
            with (
                (home / "code.py").open("rb") as source,
                (home / "stdout").open("wb") as stdout,
                (home / "stderr").open("wb") as stderr,
            ):
                process = subprocess.Popen(
                    self._command(root),
                    stdin=source,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=root,
                    env={"PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8", "LANG": "C.UTF-8"},
                    start_new_session=True,
                )
                timed_out = self._wait(process)
            status = process.returncode  # a shell tells a signal by adding it to 128
            exit_code = 128 - status if 128 < status <= 128 + signal.SIGRTMAX else status
            return Execution(exit_code, _read(home / "stdout"), _read(home / "stderr"), timed_out)

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        timed_out = False
        try:
            process.wait(self.config.wall_seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
        with contextlib.suppress(ProcessLookupError):  # the usual case: all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return timed_out

    def _command(self, root: Path) -> list[str]:
        limits = self.config
        python = [os.path.realpath(sys.executable), "-S", "-s", "-P", "-B", "-"]
        limited = [
            "prlimit", f"--cpu={limits.cpu_seconds}", f"--as={limits.memory_mib * 2**20}",
            f"--fsize={limits.output_bytes}", "--core=0",
        ]  # fmt: skip
        namespaces = _namespaces()
        if namespaces is None:
            return [*limited, *python]
        # a shell comes first, because the first process of a namespace ignores most signals
        inside = f"cd /scratch; {shlex.join(python)}; exit $?"
        if os.geteuid() == 0:
            chroot, without = ["chroot", f"--userspec={_NOBODY}:{_NOBODY}"], []
        else:  # root of its own namespace, who could leave the new root by another chroot
            chroot, without = ["chroot"], ["--bounding-set=-all", "--inh-caps=-all"]
        rights = ["setpriv", "--no-new-privs", *without]
        enter = [*chroot, str(root), *rights, *limited, f"--nproc={limits.processes}"]
        script = f"{_furnish(root)}; exec {shlex.join([*enter, '/bin/sh', '-c', inside])}"
        return [*namespaces, "/bin/sh", "-c", script]


def _furnish(root: Path) -> str:
    """Shell commands that build a root with Python, libraries, an empty scratch, nothing else."""
    quoted = shlex.quote(str(root))
    options = "size=64m,nr_inodes=10k,mode=755"
    parts = [f"set -e; mount -t tmpfs -o {options} tmpfs {quoted}; cd {quoted}"]
    for place in ("/bin", "/lib", "/lib64"):
        if Path(place).is_symlink():
            parts.append(f"ln -s {shlex.quote(os.readlink(place))} .{place}")
    shown = [p for p in ("/usr", "/bin", "/lib", "/lib64") if Path(p).is_dir()]
    shown = [p for p in [*shown, sys.base_prefix] if not Path(p).is_symlink()]
    for place in shown:
        if place.startswith("/usr/"):
            continue
        inside = shlex.quote("." + place)
        parts.append(
            f"mkdir -p {inside}; mount --bind {shlex.quote(place)} {inside}; "
            f"mount -o remount,bind,ro {inside}"
        )
    parts.append("mkdir -m 1777 scratch tmp")
    return "; ".join(parts)


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")
