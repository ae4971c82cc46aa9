"""The catalog as an ASGI application: its routes, its guard, and what it says when it cannot.

Handlers that read files are plain functions, which Starlette runs in its pool of threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from catalog import (
    card,
    compare,
    figures,
    handing_over,
    handoff_forms,
    health,
    lineage,
    models,
    overview,
    review,
    samples,
    sealed_files,
    signing_in,
)
from catalog.render import TEMPLATES, page
from catalog.runs_index import RunsIndex, without_paths
from catalog.security import Guard, login_address, set_headers
from catalog.settings import Settings
from pipeline.errors import InputError, StageError

log = logging.getLogger("primer.catalog")

MAX_BODY_BYTES = 256_000
ASSETS = {
    "style.css": "text/css",
    "pages.css": "text/css",
    "enhance.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def make_app(settings: Settings) -> Starlette:
    """The application; `settings` say where runs lie and who may press buttons."""
    app = Starlette(
        routes=_routes(),
        middleware=[
            Middleware(health.CountedPages),
            Middleware(Guard, settings=settings, refuse=show_error),
            Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES),
        ],
        exception_handlers={
            HTTPException: show_error,
            StageError: show_error,
            Exception: show_error,
        },
        lifespan=_open_runs,
    )
    app.state.settings = settings
    app.state.index = RunsIndex(settings.runs)
    return app


def _routes() -> Sequence[BaseRoute]:
    return [
        *(Route(f"/{name}", _asset) for name in ASSETS),
        *health.ROUTES,
        *signing_in.ROUTES,
        *overview.ROUTES,
        *card.ROUTES,
        *lineage.ROUTES,
        *models.ROUTES,
        *compare.ROUTES,
        *handing_over.ROUTES,
        *handoff_forms.ROUTES,
        *samples.ROUTES,
        *figures.ROUTES,
        *review.ROUTES,
        *sealed_files.ROUTES,
    ]


@asynccontextmanager
async def _open_runs(app: Starlette) -> AsyncIterator[None]:
    """Read every manifest beside the first requests, so that no page has to wait for them all."""
    threading.Thread(target=app.state.index.read_ahead, daemon=True).start()
    yield


async def _asset(request: Request) -> Response:
    name = request.url.path[1:]
    headers = {"cache-control": "public, max-age=300"}
    return FileResponse(TEMPLATES / name, media_type=ASSETS[name], headers=headers)


def show_error(request: Request, error: Exception) -> Response:
    """The page that says what is wrong and, where there is one, the cure."""
    headers = None
    if isinstance(error, HTTPException):
        status, what, headers = error.status_code, error.detail, error.headers
        if what == HTTPStatus(status).phrase:
            what = "There is no page at this address." if status == 404 else what
    elif isinstance(error, StageError):
        status = 404 if isinstance(error, InputError) else 409
        what = without_paths(str(error), request.app.state.settings.runs)
    else:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        status, what = 500, "The catalog failed on this page; its log says why."
    answer = page(
        request,
        "error.html",
        status,
        status=status,
        phrase=HTTPStatus(status).phrase,
        what=what,
        login=login_address(request) if status == 401 else None,
    )
    set_headers(answer.headers)  # a failure of ours is answered from outside the guard
    answer.headers.update(headers or {})
    return answer
