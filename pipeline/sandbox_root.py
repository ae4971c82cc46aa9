"""Namespaces of our own, with a root that holds Python and the shared libraries, nothing else.

The root is an empty memory file system into which `/usr`, the libraries and Python's own folder are
mounted read-only; `pivot_root` makes it the root and takes the old one away, so that no path leads
back. A root user of the machine stays root here (and gives its rights up before code is run); a
plain user becomes root of a user namespace first, which gives no right outside of it.
"""

from __future__ import annotations

import contextlib
import os
import sys

from pipeline import sandbox_kernel as kernel

_SEEN = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PLACE = "/sys"  # where the new root is put together: always there, and never needed after


def enter_namespaces() -> int | None:
    """Return in the first process of new namespaces, inside the new root.

    The calling process stays outside, waits, and ends with the one inside. Returns a descriptor
    of `/proc` as seen from inside, which no path reaches; None where the kernel refuses one.
    Raises OSError where the kernel refuses namespaces.
    """
    if os.geteuid() != 0:
        _become_root_of_a_user_namespace()
    kernel.unshare(
        kernel.NEW_MOUNTS | kernel.NEW_PROCESSES | kernel.NEW_NETWORK | kernel.NEW_IPC
        | kernel.NEW_HOST_NAME | kernel.NEW_CGROUP
    )  # fmt: skip
    inside = os.fork()
    if inside:
        os.closerange(3, 256)  # the socket is the child's alone: its end must be noticed
        _, status = os.waitpid(inside, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.control_process(kernel.END_WITH_PARENT, 9)
    return _furnish()


def _become_root_of_a_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.NEW_USER)
    for name, text in (
        ("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")
    ):  # fmt: skip
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _furnish() -> int | None:
    """Put the root together, make it ours, and make it read-only."""
    kernel.mount("none", "/", None, kernel.PRIVATE | kernel.RECURSIVE)
    kernel.mount("tmpfs", _PLACE, "tmpfs", kernel.NO_SETUID, "size=1m,nr_inodes=1k,mode=755")
    for place in _SEEN:
        if os.path.islink(place):
            os.symlink(os.readlink(place), _PLACE + place)
        elif os.path.isdir(place):
            _show(place)
    if not sys.base_prefix.startswith("/usr/") and sys.base_prefix != "/usr":
        _show(sys.base_prefix)
    os.mkdir(_PLACE + "/dev")
    for device in _DEVICES:
        open(f"{_PLACE}/dev/{device}", "w").close()
        kernel.mount(f"/dev/{device}", f"{_PLACE}/dev/{device}", None, kernel.BIND)
    os.mkdir(_PLACE + "/tmp")  # noqa: S108 - the scratch of each run is mounted here
    processes = _open_processes()
    kernel.make_read_only(_PLACE)
    kernel.change_root(_PLACE)
    return processes


def _show(place: str) -> None:
    os.makedirs(_PLACE + place, mode=0o755)
    kernel.mount(place, _PLACE + place, None, kernel.BIND | kernel.RECURSIVE)


def _open_processes() -> int | None:
    """`/proc` of the new namespace, opened and then taken out of sight."""
    target = _PLACE + "/tmp"  # noqa: S108
    with contextlib.suppress(OSError):
        kernel.mount("proc", target, "proc", kernel.NO_SETUID | kernel.NO_DEVICES)
        opened = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        kernel.unmount(target)
        return opened
    return None
