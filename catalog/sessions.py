"""A browser's session: a signed cookie, and the token that each of its forms must carry.

The cookie holds a random name and whether this browser showed the catalog's token; the signature
and the expiry are itsdangerous'. The key is made when the server starts, so a restart signs
everybody out, and a stolen cookie says nothing of the token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from itsdangerous import BadSignature, TimestampSigner

COOKIE = "primer_session"


@dataclass
class Session:
    """One browser. `changed` says that its cookie is still to be set."""

    name: str
    signed_in: bool = False
    changed: bool = False


class Sessions:
    """Reads and writes the cookie of a session."""

    def __init__(self, lasts_s: int, secure: bool) -> None:
        self.lasts_s, self.secure = lasts_s, secure
        self._key = secrets.token_bytes(32)
        self._signer = TimestampSigner(self._key, salt="session", digest_method=hashlib.sha256)

    def read(self, cookie: str | None) -> Session:
        """The session of a cookie; a new one where it is missing, forged or too old."""
        if cookie:
            try:
                name, mark = self._signer.unsign(cookie, max_age=self.lasts_s).decode().split(":")
            except (BadSignature, ValueError):
                pass
            else:
                return Session(name, mark == "in")
        return Session(secrets.token_urlsafe(16))

    def cookie(self, session: Session) -> str:
        """The Set-Cookie header of a session."""
        mark = "in" if session.signed_in else "out"
        value = self._signer.sign(f"{session.name}:{mark}").decode()
        rules = f"Path=/; Max-Age={self.lasts_s}; HttpOnly; SameSite=Strict"
        return f"{COOKIE}={value}; {rules}{'; Secure' * self.secure}"

    def form_token(self, session: Session) -> str:
        """What a form of this session must send back; another site cannot know it."""
        return hmac.new(self._key, b"form:" + session.name.encode(), hashlib.sha256).hexdigest()
