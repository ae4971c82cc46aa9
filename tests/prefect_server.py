"""A real Prefect server for tests: its own home and SQLite, a free port, gone when the block ends.

    with prefect_server(tmp_path / "prefect") as api:
        environment = {**os.environ, **client_environment(tmp_path / "prefect", api)}

It starts in about ten seconds on a quiet machine: ask for it once a session or module.
"""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.server import SILENT, persistent_server


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Yield the address of its API (http://127.0.0.1:port/api)."""
    pytest.importorskip("prefect")
    with persistent_server(home, with_page=False) as api:
        yield api


def client_environment(home: Path, api: str) -> dict[str, str]:
    """What a process needs in its environment to speak with that server and no other."""
    return {**SILENT, "PREFECT_HOME": str(home), "PREFECT_API_URL": api}


def ask(api: str, route: str, **body: Any) -> Any:
    """POST to a route of the API, as the web interface does; the answer as JSON."""
    request = urllib.request.Request(
        f"{api}/{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def look(api: str, route: str) -> Any:
    """GET a route of the API; the answer as JSON."""
    with urllib.request.urlopen(f"{api}/{route}", timeout=30) as answer:
        return json.load(answer)
