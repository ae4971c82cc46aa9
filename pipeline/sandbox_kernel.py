"""The few calls of the Linux kernel that Python 3.11 does not offer, made through the C library.

Only what the sandbox needs: namespaces, mounts, a root of its own, rights given up, a filter of
system calls. Each raises OSError with the kernel's reason. Numbers are those of the kernel's
headers (linux/sched.h, mount.h, prctl.h, seccomp.h) and are the same on every 64-bit machine.
"""

from __future__ import annotations

import ctypes
import os

NEW_MOUNTS, NEW_PROCESSES, NEW_NETWORK = 0x0002_0000, 0x2000_0000, 0x4000_0000
NEW_USER, NEW_IPC, NEW_HOST_NAME, NEW_CGROUP = 0x1000_0000, 0x0800_0000, 0x0400_0000, 0x0200_0000

NO_SETUID, NO_DEVICES, BIND, RECURSIVE, PRIVATE = 2, 4, 4096, 16_384, 1 << 18
_DETACH = 2

END_WITH_PARENT, NO_NEW_PRIVS, _DROP_BOUND, _SECURE_BITS, _FILTER = 1, 38, 24, 28, 22
_ROOT_IS_NOBODY_LOCKED = 0b11  # an exec by user 0 gains no rights, for good

_MOUNT_SETATTR = 442
_AT_RECURSIVE, _READ_ONLY_NO_SETUID = 0x8000, 0b11
_CAPABILITIES_V3 = 0x2008_0522


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(namespaces: int) -> None:
    """Leave the parent's namespaces of these kinds for new ones."""
    _check(_libc().unshare(namespaces), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount, or change a mount."""
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    result = _libc().mount(*texts, ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Take a mount out of sight; who has it open keeps it."""
    _check(_libc().umount2(target.encode(), _DETACH), f"unmount {target}")


def make_read_only(target: str) -> None:
    """Make a mount and all below it read-only and deaf to set-user-id files (Linux 5.12)."""
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY_NO_SETUID, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    arguments = (-100, target.encode(), _AT_RECURSIVE, ctypes.byref(attributes), size)
    _check(_libc().syscall(_MOUNT_SETATTR, *arguments), f"read-only {target}")


def change_root(new_root: str) -> None:
    """Make a mount the root, and take the old root away from this mount namespace."""
    os.chdir(new_root)
    _check(_libc().pivot_root(b".", b"."), "pivot_root")
    unmount(".")
    os.chdir("/")


def control_process(option: int, value: int) -> None:
    """`prctl` with a single argument."""
    _check(_libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def drop_rights() -> None:
    """Give up every capability, and every way to gain one by exec."""
    for capability in range(64):
        if _libc().prctl(_DROP_BOUND, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # the kernel knows no further one, or we had none to give up
    _libc().prctl(_SECURE_BITS, ctypes.c_ulong(_ROOT_IS_NOBODY_LOCKED), 0, 0, 0)
    control_process(NO_NEW_PRIVS, 1)


def clear_capabilities() -> None:
    """The last step of giving up rights: what is permitted and in effect becomes nothing."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(_libc().capset(header, nothing), "capset")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def filter_calls(program: bytes) -> None:
    """Let this BPF program (8 bytes an instruction) decide about every later system call."""
    whole = _Program(len(program) // 8, program)
    result = _libc().prctl(_FILTER, ctypes.c_ulong(2), ctypes.byref(whole), 0, 0)
    _check(result, "seccomp")
