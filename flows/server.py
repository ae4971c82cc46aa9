"""A Prefect server of one's own, on SQLite, that lives as long as the process that started it.

`primer serve` keeps one, with its web page and its schedules; `primer run` has one for a run, which
does no more than remember.

`prefect server start` leaves its children behind when it is killed and may lose the race for its
port. Here the socket is bound first and handed over, and the server reads a pipe that its parent
holds: it ends when the parent ends, even by SIGKILL. It takes about ten seconds to start.

Nothing is sent to anyone: Prefect asks for two switches to be silent, and both are set.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.bootstrap import SERVER_ENVIRONMENT
from pipeline.errors import InputError, StageError

log = logging.getLogger("primer")

SILENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_METRICS_ENABLED": "false",
}
_OURS = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE")  # of another server
_START_SECONDS = 180.0


@contextmanager
def persistent_server(
    home: Path, port: int = 0, with_page: bool = True, for_one_run: bool = False
) -> Iterator[str]:
    """Yield the address of the API of a server whose database lies in `home`; 0 is a free port.

    One that is `for_one_run` has no page, and none of the services that schedule and react.
    """
    listening = _bind(port)
    port = listening.getsockname()[1]
    home.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    environment |= (
        SILENT
        | SERVER_ENVIRONMENT
        | {
            "PREFECT_HOME": str(home.resolve()),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_UI_ENABLED": str(with_page).lower(),
            "PREFECT__SERVER_FINAL": "1",
        }
    )
    if for_one_run:
        environment["PREFECT__SERVER_EPHEMERAL"] = "1"
    with listening, (home / "server.log").open("ab") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listening.fileno())],
            env=environment, stdin=subprocess.PIPE, stdout=written, stderr=written,
            pass_fds=(listening.fileno(),), start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/api"
        _wait_for(process, url, home)
        yield url
    finally:
        _stop(process)


def _bind(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise InputError(
            "serve",
            f"port {port} cannot be had ({error.strerror})",
            "give another --ui-port, or set PREFECT_API_URL to the server that runs there",
        ) from error
    return listening


def _wait_for(process: subprocess.Popen[bytes], url: str, home: Path) -> None:
    over = time.monotonic() + _START_SECONDS
    while not is_up(url):
        if process.poll() is not None or time.monotonic() > over:
            raise StageError(
                "serve", "the Prefect server did not start", f"{home / 'server.log'} says why"
            )
        time.sleep(0.1)


def is_up(url: str) -> bool:
    """Whether a Prefect server answers at the address of its API."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _serve(descriptor: int) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(
        create_app, factory=True, lifespan="on", log_level="error", timeout_graceful_shutdown=3
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _end_with_parent() -> None:
    """Wait for the end of the pipe that the parent holds; what hangs then is killed."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(8)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _serve(int(sys.argv[1]))
