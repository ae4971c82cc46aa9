"""Open the catalog on a port: refuse what would let strangers press buttons, then serve.

uvicorn in one process. Addresses that a proxy claims in `X-Forwarded-For` are not believed, so
behind a proxy all browsers share one limit of wrong tokens.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Iterable
from contextlib import ExitStack

import click

from catalog.settings import AcceptReport, Settings
from pipeline.environment import catalog_token, prefect_api_url, runs_directory, secret
from pipeline.errors import InputError

TOKEN = "PRIMER_CATALOG_TOKEN"  # noqa: S105  # the name of the variable
MIN_TOKEN_CHARS = 16
BACKLOG = 128


def open_settings(
    host: str,
    no_token: bool = False,
    token_to_read: bool | None = None,
    names: Iterable[str] = (),
    https: bool = False,
    accept_report: AcceptReport | None = None,
) -> Settings:
    """What the environment and the command line say; InputError for what would be unsafe.

    Reading needs the token, too, where `token_to_read` says so; by default off loopback.
    `names` are what browsers may call the server by.
    """
    token = catalog_token()
    if no_token and not is_loopback(host):
        raise InputError("catalog", f"--no-token with --host {host}", f"set {TOKEN}")
    if not no_token and token is None:
        raise InputError(
            "catalog",
            f"{TOKEN} is not set",
            "set it (python -c 'import secrets; print(secrets.token_urlsafe())'), or on loopback "
            "give --no-token",
        )
    if not no_token and token is not None and len(token) < MIN_TOKEN_CHARS:
        raise InputError(
            "catalog", f"{TOKEN} has {len(token)} characters", f"use at least {MIN_TOKEN_CHARS}"
        )
    if no_token and token_to_read:
        raise InputError("catalog", "--token-to-read with --no-token", "leave one of them out")
    return Settings(
        runs=runs_directory(),
        token=None if no_token else token,
        token_to_read=not is_loopback(host) if token_to_read is None else token_to_read,
        hosts=frozenset(name.casefold() for name in names),
        secure_cookie=https,
        prefect_api_url=prefect_api_url(),
        prefect_api_key=secret("PREFECT_API_KEY"),
        prefect_api_auth=secret("PREFECT_API_AUTH_STRING"),
        accept_report=accept_report,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve_catalog(settings: Settings, host: str, port: int) -> None:
    """Serve until stopped; port 0 takes a free one, and the address is printed either way."""
    import uvicorn

    from catalog.app import make_app

    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"catalog of {settings.runs}: http://{shown}:{listening.getsockname()[1]}/")
    logging.getLogger("primer.catalog").info("catalog: ready")
    config = uvicorn.Config(
        make_app(settings),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as unless_it_listens:
            listening = unless_it_listens.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)  # who comes before all is imported waits, and is not refused
            unless_it_listens.pop_all()
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that can be none
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            "catalog", f"cannot listen on {host} port {port} ({why})", "give another"
        ) from error
    return listening
