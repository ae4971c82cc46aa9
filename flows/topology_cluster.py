"""PostgreSQL as its image starts it: the cluster made once, then the server, never as root.

The image's entrypoint makes user and database of `POSTGRES_USER`, `POSTGRES_DB` and
`POSTGRES_PASSWORD` where the volume is empty; here `initdb` and the single-user mode do. The
cluster gets its name when it is whole. Debian's package brings the user `postgres`, whom a root
hands the files to; anybody else runs the server as themselves.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from flows.topology_plan import Process, find_program
from pipeline.errors import InputError, StageError

_DATA = "/var/lib/postgresql/data"
_USER = "postgres"


def is_database(process: Process) -> bool:
    """Whether a process is PostgreSQL, by the place of its volume."""
    return _DATA in process.folders


def server_user() -> str | None:
    """Whom PostgreSQL runs as, where it may not be us."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam(_USER).pw_name
    except KeyError as error:
        raise InputError(
            "topology", f"there is no user {_USER!r}, and PostgreSQL does not run as root",
            "install Debian's postgresql, or start this as another user",
        ) from error  # fmt: skip


def server_command(process: Process) -> list[str]:
    """The compose file's command, told where its data lies; without a socket but that of TCP."""
    program, *words = process.command
    return [
        find_program(program), "-D", str(process.folders[_DATA] / "cluster"),
        "-c", f"listen_addresses={process.address}", "-c", "unix_socket_directories=", *words,
    ]  # fmt: skip


def make_cluster(process: Process) -> None:
    """Make the cluster with its user and its database where there is none."""
    place = process.folders[_DATA]
    user = server_user()
    if user:
        _reachable(place)
        shutil.chown(place, user)
    if (place / "cluster").exists():
        return
    said = process.environment
    shutil.rmtree(place / "cluster.partial", ignore_errors=True)
    with tempfile.NamedTemporaryFile("w", dir=place) as password:
        password.write(said["POSTGRES_PASSWORD"])
        password.flush()
        if user:
            shutil.chown(password.name, user)
        _run(
            ["initdb", "-D", "cluster.partial", "-U", said["POSTGRES_USER"], "--auth=scram-sha-256",
             f"--pwfile={password.name}", "--encoding=UTF8", "--locale=C.UTF-8"],
            place, user,
        )  # fmt: skip
    _run(
        ["postgres", "--single", "-D", "cluster.partial", "postgres"],
        place, user, f'CREATE DATABASE "{said["POSTGRES_DB"]}"\n',
    )  # fmt: skip
    (place / "cluster.partial").rename(place / "cluster")


def _run(command: list[str], place: Path, user: str | None, given: str = "") -> None:
    done = subprocess.run(
        [find_program(command[0]), *command[1:]], input=given, cwd=place, user=user,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise StageError("topology", f"{command[0]}: {done.stderr.strip()}", "see the message")


def _reachable(place: Path) -> None:
    """Another user must be able to walk to its files."""
    for parent in place.resolve().parents:
        if not parent.stat().st_mode & 0o001:
            raise InputError(
                "topology", f"the user {_USER!r} cannot enter {parent}",
                "give a --dir below a folder that others may enter, such as /srv",
            )  # fmt: skip
