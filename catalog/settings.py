"""What a catalog is opened with. Made once by `catalog.serve`, and read by every page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Of the handoff's flow, which the catalog may not import: (run, body, headers) -> what to answer.
AcceptReport = Callable[[Path, bytes, Mapping[str, str]], Mapping[str, object]]


@dataclass(frozen=True)
class Settings:
    """One catalog.

    Without a `token` anyone who reaches the port may press the buttons: `catalog.serve` allows
    that on loopback only. `hosts` are names that a browser may call this server by, besides
    localhost and bare addresses.
    """

    runs: Path
    token: str | None = None
    token_to_read: bool = False
    hosts: frozenset[str] = frozenset()
    secure_cookie: bool = False
    session_s: int = 12 * 3600
    prefect_api_url: str | None = None
    prefect_api_key: str | None = None
    prefect_api_auth: str | None = None
    accept_report: AcceptReport | None = None
