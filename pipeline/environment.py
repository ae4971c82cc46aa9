"""The one place where environment variables are read."""

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.errors import InputError


def runs_directory() -> Path:
    """Where runs live: `PRIMER_RUNS`, else `runs/` below the working directory."""
    address = os.environ.get("PRIMER_RUNS", "runs")
    if "://" in address:
        raise InputError(
            "environment",
            f"PRIMER_RUNS={address!r} is not a local directory",
            "give a local path: sealing a stage needs an atomic rename",
        )
    return Path(address)


def secret(variable: str) -> str | None:
    """A key by the name of its variable; None when unset or empty. Never log what it returns."""
    return os.environ.get(variable) or None


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address; None where it is to be gone to."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
