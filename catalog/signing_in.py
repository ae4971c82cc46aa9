"""The page where a person shows the catalog's token, once, and the button that signs out."""

from __future__ import annotations

import secrets

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from catalog.render import page
from catalog.security import check_form
from catalog.sessions import Session


def within_catalog(address: str) -> str:
    """An address of this catalog to go to after signing in; any other becomes the first page."""
    plain = address.isprintable() and "\\" not in address
    return address if plain and address.startswith("/") and not address.startswith("//") else "/"


async def show_login(request: Request) -> Response:
    """The form for the token."""
    back = within_catalog(request.query_params.get("next", "/"))
    return page(request, "login.html", back=back, wrong=None)


async def sign_in(request: Request) -> Response:
    """A new session for whoever knows the token; the name of the old one is not used again."""
    form = await check_form(request)
    back = within_catalog(str(form.get("next", "/")))
    try:
        request.state.guard.check_token(request, str(form.get("token", "")).strip())
    except HTTPException as error:
        answer = page(request, "login.html", error.status_code, back=back, wrong=error.detail)
        answer.headers.update(error.headers or {})
        return answer
    request.state.session = Session(secrets.token_urlsafe(16), signed_in=True, changed=True)
    return RedirectResponse(back, 303)


async def sign_out(request: Request) -> Response:
    """A new session that has not shown the token."""
    await check_form(request)
    request.state.session = Session(secrets.token_urlsafe(16), changed=True)
    return RedirectResponse("/", 303)


ROUTES = [
    Route("/login", show_login),
    Route("/login", sign_in, methods=["POST"]),
    Route("/logout", sign_out, methods=["POST"]),
]
