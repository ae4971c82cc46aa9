"""What a supervisor and Prometheus ask: does it answer, and what did this machine do.

`/metrics` shows what `pipeline.metrics` counts (of all processes, where they share a directory),
and how many pages the catalog answered, by handler and status: never by address, of which there
are as many as anybody cares to invent.
"""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.environment import metrics_directory
from pipeline.metrics import metrics_page

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Histogram

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class CountedPages:
    """Counts every answer and how long it took to begin."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                page = getattr(scope.get("endpoint"), "__name__", "none")
                seen = _counts()[1].labels(page, str(message["status"]))
                seen.observe(time.perf_counter() - begun)
            await send(message)

        await self.app(scope, receive, send_counted)


@functools.cache
def _counts() -> tuple[CollectorRegistry, Histogram]:
    from prometheus_client import CollectorRegistry, Histogram

    registry = CollectorRegistry()
    return registry, Histogram(
        "primer_catalog_seconds",
        "Answers of the catalog, and how long each took to begin.",
        ["page", "status"],
        registry=registry,
        buckets=SECONDS,
    )


def healthz(request: Request) -> Response:
    """200 while the runs' directory can be listed, 503 while it cannot."""
    try:
        with os.scandir(request.app.state.settings.runs) as entries:
            next(iter(entries), None)
    except OSError:
        return JSONResponse({"status": "the runs' directory cannot be read"}, 503)
    return JSONResponse({"status": "ok"})


def metrics(_: Request) -> Response:
    """All that is counted here, in Prometheus' text format."""
    from prometheus_client import generate_latest

    counted, kind = metrics_page()
    if metrics_directory() is None:  # else what the catalog counts lies there and is in it
        counted += generate_latest(_counts()[0])
    return Response(counted, media_type=kind)


ROUTES = [Route("/healthz", healthz), Route("/metrics", metrics)]
