"""What docker-compose.yml says, as processes of this machine.

Commands, environment, health checks, order, restarts and patience are read from the file, never
written a second time. Three things are replaced, because a process has no host, no volumes and no
image of its own: the name of a service by a loopback address of its own (ports stay: every service
has the whole of 127.x.y.z to itself), the places of volumes and of tmpfs by folders, and /primer by
this repository. What an image's own start would do (make PostgreSQL's cluster) is done here.

Linux alone answers on all of 127.0.0.0/8 without being told to.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:?[-?])([^}]*))?\}")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Health:
    """A command that ends with 0 while its process is well, and how patiently it is asked."""

    command: list[str]
    interval_s: float
    timeout_s: float
    retries: int
    start_period_s: float
    start_interval_s: float


@dataclass(frozen=True)
class Process:
    """One container of the compose file, as a process."""

    name: str
    service: str
    address: str
    command: list[str]
    environment: dict[str, str]
    folders: dict[str, Path]  # of the container -> here
    needs: dict[str, str]  # service -> healthy, completed_successfully or started
    restart: str
    stop_signal: str
    stop_grace_s: float
    health: Health | None = None


@dataclass(frozen=True)
class Plan:
    """The processes of a compose file in the order of their start, and where each lives."""

    folder: Path
    network: str  # the first three bytes, as in 127.20.30
    scale: Mapping[str, int] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    compose: Path = COMPOSE

    def processes(self) -> list[Process]:
        """One for every service without a profile, and as many as `scale` says."""
        services = self._services()
        unknown = sorted(set(self.scale) - set(services))
        if unknown:
            raise InputError(
                "topology", f"there is no service {unknown[0]!r}", f"known: {', '.join(services)}"
            )
        addresses = {name: f"{self.network}.{at}" for at, name in enumerate(services, start=10)}
        further = count(100)  # addresses that nobody asks for by name
        found = []
        for name in _by_need(services):
            for number in range(1, self.scale.get(name, 1) + 1):
                own = addresses[name] if number == 1 else f"{self.network}.{next(further)}"
                found.append(self._process(name, number, services[name], own, addresses))
        return found

    def _services(self) -> dict[str, Any]:
        services = yaml.safe_load(self.compose.read_text())["services"]
        return {name: service for name, service in services.items() if "profiles" not in service}

    def _process(
        self, service: str, number: int, said: dict[str, Any], own: str, addresses: dict[str, str]
    ) -> Process:
        name = f"{service}-{number}"
        folders = self._folders(name, said)

        def here(text: Any) -> str:
            filled = fill_in(str(text), self.variables)
            return replace_folders(replace_hosts(filled, own, addresses), folders)

        command = [*said.get("entrypoint", []), *said.get("command", [])]
        health = said.get("healthcheck")
        return Process(
            name=name,
            service=service,
            address=own,
            command=[here(word) for word in command],
            environment={key: here(value) for key, value in said.get("environment", {}).items()},
            folders=folders,
            needs={
                need: how["condition"].removeprefix("service_")
                for need, how in said.get("depends_on", {}).items()
            },
            restart=said["restart"],
            stop_signal=said.get("stop_signal", "SIGTERM"),
            stop_grace_s=seconds(said.get("stop_grace_period", "10s")),
            health=health and Health(
                command=[here(word) for word in health["test"][1:]],
                interval_s=seconds(health["interval"]), timeout_s=seconds(health["timeout"]),
                retries=health["retries"], start_period_s=seconds(health["start_period"]),
                start_interval_s=seconds(health["start_interval"]),
            ),
        )  # fmt: skip

    def _folders(self, name: str, said: dict[str, Any]) -> dict[str, Path]:
        folders = {"/primer": ROOT}
        for mount in said.get("volumes", []):
            volume, target = mount.split(":")[:2]
            folders[target] = self.folder / "volumes" / volume
        for mount in said.get("tmpfs", []):
            target = mount.split(":")[0]
            folders[target] = self.folder / "tmp" / name / target.strip("/").replace("/", "-")
        return folders


def read_variables(folder: Path) -> dict[str, str]:
    """The `.env` of a topology; made with random secrets where there is none, as compose's is."""
    path = folder / ".env"
    if not path.exists():
        lines = (ROOT / ".env.example").read_text().splitlines()
        made = [line + secrets.token_hex(32) if line.endswith("=") else line for line in lines]
        partial = folder / ".env.partial"
        partial.touch(mode=0o600)
        with partial.open("w") as file:
            file.write("\n".join(made) + "\n")
            file.flush()
            os.fsync(file.fileno())  # PostgreSQL keeps the password from the first start on
        partial.rename(path)
    pairs = (
        line.split("=", 1) for line in path.read_text().splitlines() if re.match(r"\w+=", line)
    )
    return {name: value.strip('"') for name, value in pairs}


def fill_in(text: str, variables: Mapping[str, str]) -> str:
    """Compose's interpolation: `${NAME}`, `${NAME:-default}`, `${NAME:?why it must be set}`."""

    def value(match: re.Match[str]) -> str:
        name, how, rest = match.groups()
        if name is None:
            return "$"
        found = variables.get(name, "")
        if not found and how and how.endswith("?"):
            raise InputError("topology", f"{name} is not set", rest or "see .env.example")
        return found or (rest if how and how.endswith("-") else "")

    return _VARIABLE.sub(value, text)


def replace_hosts(text: str, own: str, addresses: Mapping[str, str]) -> str:
    """Names of services before a port, and the addresses by which a container means itself."""
    text = re.sub(r"(?<![\d.])(?:127\.0\.0\.1|0\.0\.0\.0)(?![\d.])", own, text)
    names = "|".join(map(re.escape, addresses))
    # a user's name stands before a password, which an @ ends: it is no host
    host = re.compile(rf"(?<=[/@,=])({names})(?=:\d+(?![\w@]))")
    return host.sub(lambda match: addresses[match[1]], text)


def replace_folders(text: str, folders: Mapping[str, Path]) -> str:
    """Paths below a mount of the container by those below the folder that stands for it."""
    targets = "|".join(map(re.escape, sorted(folders, key=len, reverse=True)))
    place = re.compile(rf"(?<![\w./-])({targets})(?![\w.-])")
    return place.sub(lambda match: str(folders[match[1]]), text)


def seconds(duration: str) -> float:
    """A duration as compose writes it, such as 1m30s."""
    return sum(
        float(number) * _SECONDS[unit]
        for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", str(duration))
    )


def _by_need(services: dict[str, Any]) -> list[str]:
    """The names in an order in which each comes after what it needs."""
    order: list[str] = []
    while len(order) < len(services):
        ready = [
            name
            for name, said in services.items()
            if name not in order and set(said.get("depends_on", {})) <= set(order)
        ]
        if not ready:
            raise InputError("topology", "services need each other in a circle", "see depends_on")
        order += ready
    return order


def find_program(name: str) -> str:
    """Where a program of a container's image lies here: ours, Debian's PostgreSQL, or the PATH."""
    ours = Path(sys.executable).parent / name
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_major)
    if ours.exists():
        return str(ours)
    found = str(debian[-1]) if debian else shutil.which(name)
    if found is None:
        raise InputError(
            "topology", f"there is no program {name!r}", "docs/deploying.md says what to install"
        )
    return found


def _major(path: Path) -> int:
    return int(re.sub(r"\D", "", path.parts[4]) or 0)
