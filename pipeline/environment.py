"""The one place where environment variables are read.

`PRIMER_RUNS` where runs lie; `PREFECT_API_URL` the Prefect server; `PRIMER_CATALOG_TOKEN` what the
web page asks for before it lets anyone press a button; `PRIMER_LOG_FORMAT` text or json;
`PRIMER_SILENCE_SECONDS` after which a run without a heartbeat counts as crashed;
`PROMETHEUS_MULTIPROC_DIR` where the processes of one machine put their figures together. Keys have
names of the recipe's choice and are read by `secret`.
"""

import getpass
import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.errors import InputError


def runs_directory() -> Path:
    """Where runs live: `PRIMER_RUNS`, else `runs/` below the working directory."""
    address = os.environ.get("PRIMER_RUNS") or "runs"
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


def prefect_api_url() -> str | None:
    """The address of the Prefect server's API; None where the environment names none."""
    return os.environ.get("PREFECT_API_URL") or None


def catalog_token() -> str | None:
    """What the catalog asks for before it changes anything; never log it."""
    return secret("PRIMER_CATALOG_TOKEN")


def log_format() -> str:
    """`text`, or `json` for one JSON object a line."""
    found = os.environ.get("PRIMER_LOG_FORMAT") or "text"
    if found not in {"text", "json"}:
        raise InputError("environment", f"PRIMER_LOG_FORMAT={found!r}", "use text or json")
    return found


def silence_s(default: int) -> int:
    """Seconds without a heartbeat after which a run counts as crashed."""
    found = os.environ.get("PRIMER_SILENCE_SECONDS") or str(default)
    if not found.isdecimal() or int(found) < 1:
        raise InputError(
            "environment", f"PRIMER_SILENCE_SECONDS={found!r}", "give whole seconds, 1 or more"
        )
    return int(found)


def metrics_directory() -> Path | None:
    """Where several processes put their figures for one Prometheus endpoint; None: one process."""
    found = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(found) if found else None


def user_name() -> str:
    """Who runs this process, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        return str(os.getuid())
