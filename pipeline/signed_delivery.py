"""A message that only the holder of a key could have sent, and that counts once.

Signed is HMAC-SHA256 (RFC 2104) of

    purpose "." timestamp "." nonce "." delivery "." body

with the key as UTF-8. The purpose keeps a message of one kind from passing for another; timestamp
(Unix seconds) and nonce (128 random bits) are new with every try, so a message that somebody
recorded is refused: outside the window by its time, within it by its nonce, which a small SQLite
file remembers for as long as the window is open. The delivery's id stays the same when a sender
tries again, so that a receiver who has acted on it does not act twice.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

DELIVERY = "X-Primer-Delivery"
TIMESTAMP = "X-Primer-Timestamp"
NONCE = "X-Primer-Nonce"
SIGNATURE = "X-Primer-Signature"  # v1=<64 hex digits>
HANDOFF, REPORT = "primer-handoff-v1", "primer-report-v1"  # purposes
WINDOW_S = 300
_FIELDS = {DELIVERY: r"[A-Za-z0-9_-]{1,128}", TIMESTAMP: r"[0-9]{1,12}", NONCE: r"[0-9a-f]{32}"}


class DeliveryError(Exception):
    """A message that must not be acted on; the text says why, and tells nothing of the key."""


@dataclass(frozen=True)
class Delivery:
    """A message that was sent by the holder of the key; `acted_on` if it was before."""

    id: str
    body: bytes
    acted_on: bool


class Deliveries:
    """What a receiver remembers, in one SQLite file: nonces of the window, deliveries acted on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as store, store:
            for table in ("nonces", "acted"):
                store.execute(f"create table if not exists {table} (id text primary key, at int)")

    def use_nonce(self, nonce: str, now_s: int, window_s: int) -> bool:
        """Remember a nonce on the disk; False where it was used before."""
        with closing(self._open()) as store, store:
            # a message from the future by less than the window is good for twice as long
            store.execute("delete from nonces where at < ?", (now_s - 2 * window_s - 1,))
            row = (nonce, now_s)
            return store.execute("insert or ignore into nonces values (?, ?)", row).rowcount == 1

    def acted_on(self, delivery: str) -> bool:
        """Whether `act` was called for this delivery."""
        with closing(self._open()) as store:
            found = store.execute("select 1 from acted where id = ?", (delivery,))
            return found.fetchone() is not None

    def act(self, delivery: str) -> bool:
        """Claim a delivery right before acting on it; False where it was claimed already."""
        with closing(self._open()) as store, store:
            row = (delivery, int(time.time()))
            return store.execute("insert or ignore into acted values (?, ?)", row).rowcount == 1

    def _open(self) -> sqlite3.Connection:
        store = sqlite3.connect(self.path, timeout=30)
        store.execute("pragma synchronous = full")
        return store


def sign_delivery(
    purpose: str, delivery: str, body: bytes, key: str, now_s: float | None = None
) -> dict[str, str]:
    """The headers of one try at sending `body`."""
    timestamp = str(int(time.time() if now_s is None else now_s))
    nonce = secrets.token_hex(16)
    signature = _hmac(purpose, timestamp, nonce, delivery, body, key)
    return {
        DELIVERY: delivery, TIMESTAMP: timestamp, NONCE: nonce, SIGNATURE: f"v1={signature}",
        "Content-Type": "application/json",
    }  # fmt: skip


def check_delivery(
    purpose: str, headers: Mapping[str, str], body: bytes, key: str, store: Deliveries,
    now_s: float | None = None, window_s: int = WINDOW_S,
) -> Delivery:  # fmt: skip
    """The delivery, if it was signed with the key, is fresh, and was never seen before.

    Raises DeliveryError, to be answered with 401. `body` is the bytes as they came.
    """
    given = {name.lower(): value for name, value in headers.items()}
    found = {}
    for name, form in _FIELDS.items():
        found[name] = given.get(name.lower(), "")
        if not re.fullmatch(form, found[name], re.ASCII):
            raise DeliveryError(f"{name} is missing or malformed")
    delivery, timestamp, nonce = found.values()
    wanted = "v1=" + _hmac(purpose, timestamp, nonce, delivery, body, key)
    if not hmac.compare_digest(wanted.encode(), given.get(SIGNATURE.lower(), "").encode()):
        raise DeliveryError(f"{SIGNATURE} does not match")
    now = int(time.time() if now_s is None else now_s)
    if abs(now - int(timestamp)) > window_s:
        raise DeliveryError(f"{TIMESTAMP} is {abs(now - int(timestamp))} s off, {window_s} s may")
    if not store.use_nonce(nonce, now, window_s):  # last: only the holder of the key fills it
        raise DeliveryError(f"{NONCE} was used before")
    return Delivery(delivery, body, store.acted_on(delivery))


def _hmac(
    purpose: str, timestamp: str, nonce: str, delivery: str, body: bytes, key: str
) -> str:  # fmt: skip
    head = f"{purpose}.{timestamp}.{nonce}.{delivery}.".encode()
    return hmac.new(key.encode(), head + body, hashlib.sha256).hexdigest()
