"""The system calls that unread code is refused, as a program for the kernel's seccomp.

Namespaces and dropped rights already stop most of these; the filter takes away the parts of the
kernel where escapes have been found, and the two doors that namespaces do not close: sockets of the
hypervisor (AF_VSOCK) and of the kernel's own services (AF_ALG, netlink), and new user namespaces.
A list of the refused, not of the allowed, because a new version of Python or of the C library
needs new calls; the groups follow Docker's default profile
(docs.docker.com/engine/security/seccomp).

libseccomp compiles the program once for each sandbox, through the `pyseccomp` package; without the
library there is no program, and the sandbox says that the filter is not active.
"""

from __future__ import annotations

import errno
import socket
import tempfile

_REFUSED = (
    # other processes, and memory of theirs
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    # mounts, roots, namespaces
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "unshare", "setns",
    # keys, programs in the kernel, rings: no namespace holds them
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "fanotify_init", "seccomp",
    # memory outside of the limits of a process
    "memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open",
    # the machine itself
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot",
    "swapon", "swapoff", "acct", "quotactl", "syslog", "settimeofday", "clock_settime", "adjtimex",
    "clock_adjtime", "sethostname", "setdomainname", "iopl", "ioperm", "modify_ldt", "personality",
    "vhangup", "name_to_handle_at", "open_by_handle_at", "lookup_dcookie", "move_pages",
    "migrate_pages",
)  # fmt: skip
_NAMESPACE_BITS = (0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000,
                   0x4000_0000)  # fmt: skip
_UNKNOWN = -1  # to a libseccomp older than the call
_PUSH_INPUT = 0x5412  # TIOCSTI: types into the terminal of another
_OF_SOCKETS, _SEND_BUFFER = 1, 7  # SOL_SOCKET, SO_SNDBUF
_ALLOWED_SOCKETS = tuple(sorted({socket.AF_UNIX, socket.AF_INET, socket.AF_INET6}))


def compile_filter() -> bytes | None:
    """The program, 8 bytes an instruction; None where libseccomp is not there."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError):  # no package, or a package without its library
        return None
    refused = seccomp.ERRNO(errno.EPERM)
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in _REFUSED:
        if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) != _UNKNOWN:
            rules.add_rule(refused, name)
    for bit in _NAMESPACE_BITS:
        rules.add_rule(refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, bit, bit))
    # its flags lie in memory, out of a filter's sight; libraries fall back to clone
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(refused, "ioctl", seccomp.Arg(1, seccomp.EQ, _PUSH_INPUT))
    # a larger buffer lies outside of the group's measured memory: nothing happens, no error
    rules.add_rule(
        seccomp.ERRNO(0), "setsockopt", seccomp.Arg(1, seccomp.EQ, _OF_SOCKETS),
        seccomp.Arg(2, seccomp.EQ, _SEND_BUFFER),
    )  # fmt: skip
    no_family = seccomp.ERRNO(errno.EAFNOSUPPORT)
    for call in ("socket", "socketpair"):
        rules.add_rule(no_family, call, seccomp.Arg(0, seccomp.GT, _ALLOWED_SOCKETS[-1]))
        for family in range(_ALLOWED_SOCKETS[-1]):
            if family not in _ALLOWED_SOCKETS:
                rules.add_rule(no_family, call, seccomp.Arg(0, seccomp.EQ, family))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
