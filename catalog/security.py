"""Who may read, who may press a button, and what a browser may do with a page.

Every response passes `Guard`: it refuses a Host that is not ours (a name that an attacker's DNS
turned to this machine), asks for the token where reading needs it, and sets the headers. A page
loads nothing but this server's style, script and pictures, runs nothing inline and cannot be
framed. A form is taken only with its session's token and from this origin; a program that shows
the token as `Authorization: Bearer` has no session that another site could ride on.
Sources: https://owasp.org/www-project-cheat-sheets (Cross-Site Request Forgery Prevention, Content
Security Policy), https://www.w3.org/TR/CSP3/ .
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from markupsafe import Markup
from starlette.datastructures import FormData, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.sessions import COOKIE, Session, Sessions
from catalog.settings import Settings

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
PRIVATE = "no-store"  # of a response that does not say otherwise
ALWAYS_OPEN = {"/login", "/style.css", "/enhance.js", "/icon.svg", "/healthz"}
REPORT = re.compile(r"/runs/[^/]+/report")
WRONG_TOKENS, WINDOW_S, ADDRESSES = 5, 60.0, 10_000


class WrongTokens:
    """How many wrong tokens an address has shown lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, list[float]] = {}

    def check(self, address: str) -> None:
        """Raise 429 for an address that has guessed too often."""
        lately = self._lately(address)
        if len(lately) >= WRONG_TOKENS:
            wait_s = max(1, round(WINDOW_S - (self._clock() - lately[0])))
            raise HTTPException(
                429,
                f"Too many wrong tokens; try again in {wait_s} s.",
                {"Retry-After": str(wait_s)},
            )

    def count(self, address: str) -> None:
        """Note a wrong token."""
        if len(self._seen) >= ADDRESSES:
            self._seen = {a: times for a in list(self._seen) if (times := self._lately(a))}
        self._seen[address] = [*self._lately(address), self._clock()]

    def _lately(self, address: str) -> list[float]:
        since = self._clock() - WINDOW_S
        return [at for at in self._seen.get(address, []) if at > since]


class Guard:
    """The outermost layer; `refuse` makes the page that says why a request was not let through."""

    def __init__(
        self, app: ASGIApp, settings: Settings, refuse: Callable[[Request, Exception], Response]
    ) -> None:
        self.app, self.settings, self.refuse = app, settings, refuse
        self.sessions = Sessions(settings.session_s, settings.secure_cookie)
        self.wrong_tokens = WrongTokens()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        session = self.sessions.read(request.cookies.get(COOKIE))
        request.state.session, request.state.guard, request.state.bearer = session, self, False

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                set_headers(headers)
                if request.state.session.changed:
                    headers.append("set-cookie", self.sessions.cookie(request.state.session))
            await send(message)

        app = self.app
        try:
            self._let_through(request)
        except HTTPException as refusal:
            app = self.refuse(request, refusal)
        await app(scope, receive, send_guarded)

    def _let_through(self, request: Request) -> None:
        if not is_our_host(request.headers.get("host", ""), self.settings.hosts):
            raise HTTPException(400, "This server does not go by the name that was asked for.")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            self.check_token(request, given.strip())
            request.state.bearer = True
        path = request.url.path
        is_report = request.method == "POST" and bool(REPORT.fullmatch(path))  # signed itself
        if self.settings.token_to_read and not (path in ALWAYS_OPEN or is_report):
            require_token(request)

    def check_token(self, request: Request, given: str) -> None:
        """Raise 401 for a token that is not the catalog's, 429 where too many were tried."""
        address = request.client.host if request.client else ""
        self.wrong_tokens.check(address)
        expected = self.settings.token
        if expected is None or not hmac.compare_digest(given.encode(), expected.encode()):
            self.wrong_tokens.count(address)
            raise HTTPException(401, "This is not the catalog's token.")


def set_headers(headers: MutableHeaders) -> None:
    """What every response says to the browser."""
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("cache-control", PRIVATE)


def is_our_host(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header is a bare address, localhost, or one of `names`.

    A bare address cannot have been turned to this machine by somebody's DNS.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        urlsplit(f"//{host}").port  # noqa: B018  # raises where it is no number
    except ValueError:
        return False
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_signed_in(request: Request) -> bool:
    """Whether this request may press buttons."""
    if request.app.state.settings.token is None:
        return True
    return bool(request.state.bearer or request.state.session.signed_in)


def require_token(request: Request) -> None:
    """Raise 401 unless the token was shown, in this session or with this request."""
    if not is_signed_in(request):
        raise HTTPException(401, "Sign in with the catalog's token first.")


async def check_form(request: Request) -> FormData:
    """The form that was sent; 403 unless it is from a page of ours, made for this session."""
    form = await request.form(max_files=0, max_fields=100)
    if request.state.bearer:
        return form
    given = form.get("csrf")
    if not is_same_origin(request):
        raise HTTPException(403, "This form was not sent from a page of this catalog.")
    expected = request.state.guard.sessions.form_token(request.state.session)
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.encode()):
        raise HTTPException(403, "This form is too old. Open its page again, and send it anew.")
    return form


def is_same_origin(request: Request) -> bool:
    """Whether the browser says that a page of this server sent the request."""
    origin = request.headers.get("origin") or request.headers.get("referer") or ""
    try:
        return urlsplit(origin).netloc == request.headers.get("host", "")
    except ValueError:
        return False


def csrf_field(request: Request) -> Markup:
    """The hidden field that `check_form` looks for; it gives the browser a session."""
    session: Session = request.state.session
    session.changed = True
    token = request.state.guard.sessions.form_token(session)
    return Markup('<input type="hidden" name="csrf" value="{}">').format(token)


def login_address(request: Request) -> str:
    """Where to sign in, and then come back to the page (a form's address is none)."""
    back = request.url.path if request.method == "GET" else "/"
    return f"/login?next={quote(back, safe='/')}"
