"""How fast a teacher is asked: a window that adapts, limits a minute, and knowing when it is down.

The window of requests in flight starts at half the cap and doubles each time it was filled
and answered without growing slow; a 429 or 503 halves it, at most once a round trip, and from then
on it grows slowly (additive increase, multiplicative decrease: Chiu and Jain 1989; slow start:
Jacobson 1988).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from pipeline.teacher_config import TeacherConfig

_SLOW = 1.5  # times the best mean latency of a window: more in flight would only queue
_FEWEST_FAILURES = 5  # in a row, before an endpoint may count as down
_BURST_SECONDS = 1.0  # of a limit a minute may be used at once


class DownError(Exception):
    """Nothing has succeeded for longer than `patience_seconds`."""


class Bucket:
    """So many units a minute, evenly."""

    def __init__(self, per_minute: int | None) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    def take(self, amount: float) -> float:
        """Take `amount` units, and return how many seconds to wait before they may be used."""
        now = time.monotonic()
        self._free_at = max(self._free_at, now - _BURST_SECONDS)
        wait_seconds = max(0.0, self._free_at - now)
        self._free_at += amount * self._seconds_each
        return wait_seconds


class Pace:
    """The window of one endpoint. All of it runs in one event loop, so nothing is locked."""

    def __init__(self, config: TeacherConfig) -> None:
        self.cap = config.max_concurrency
        self.limit = float(min(self.cap, max(16, self.cap // 2)))
        self.in_flight = 0
        self.good_at = time.monotonic()  # when it last answered, or was first asked
        self._patience_seconds = config.patience_seconds
        self._failures = 0
        self._requests = Bucket(config.requests_per_minute)
        self._tokens = Bucket(config.tokens_per_minute)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._open_at, self._told_seconds = 0.0, 0.0  # the longest wait since it last answered
        self._doubles = True
        self._halved_at = 0.0
        self._landed, self._latencies, self._was_full = 0, 0.0, False
        self._best_latency = float("inf")

    async def enter(self, tokens: int) -> None:
        """Wait until a request of so many tokens may leave; `leave` must follow."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        self._was_full = self._was_full or not turn.done()
        try:
            await turn
            await self._hold_back(tokens)
        except asyncio.CancelledError:
            if not turn.cancelled():  # `_let_in` has counted it
                self.leave()
            raise

    def leave(self) -> None:
        """A request is no longer in flight."""
        self.in_flight -= 1
        self._let_in()

    def landed(self, sent_at: float) -> None:
        """The endpoint did its work on a request that left at `sent_at` (time.monotonic)."""
        self.good_at, self._failures = time.monotonic(), 0
        self._told_seconds = max(0.0, self._open_at - self.good_at)
        self._landed += 1
        self._latencies += self.good_at - sent_at
        self._was_full = self._was_full or self.in_flight >= int(self.limit)
        if self._landed >= int(self.limit):
            self._adapt(self._latencies / self._landed)

    def failed(self) -> None:
        """It did not. Raises DownError when that has gone on for too long."""
        self._failures += 1
        out_seconds = time.monotonic() - self.good_at - self._told_seconds
        if self._failures >= _FEWEST_FAILURES and out_seconds > self._patience_seconds:
            raise DownError

    def pushed_back(self, sent_at: float, wait_seconds: float | None) -> None:
        """It asked for less: halve once a round trip, and wait as long as it says."""
        now = time.monotonic()
        if sent_at > self._halved_at:
            self._halved_at, self._doubles = now, False
            self.limit = max(1.0, self.limit / 2)
            self._landed, self._latencies, self._was_full = 0, 0.0, False
        if wait_seconds is not None:
            self._open_at = max(self._open_at, now + wait_seconds)
            self._told_seconds = max(self._told_seconds, wait_seconds)

    async def _hold_back(self, tokens: int) -> None:
        """Wait for the limits a minute; who is told to wait meanwhile lines up again after it."""
        while True:
            wait_seconds = self._open_at - time.monotonic()
            if wait_seconds > 0:
                await asyncio.sleep(wait_seconds)
                continue
            wait_seconds = max(self._requests.take(1), self._tokens.take(tokens))
            if wait_seconds > 0:
                await asyncio.sleep(wait_seconds)
            if self._open_at <= time.monotonic():
                return

    def _adapt(self, latency: float) -> None:
        self._best_latency = min(self._best_latency, latency)
        if self._was_full and latency <= _SLOW * self._best_latency:
            more = self.limit if self._doubles else max(1.0, self.limit / 16)
            self.limit = min(self.cap, self.limit + more)
            self._let_in()
        self._landed, self._latencies, self._was_full = 0, 0.0, False

    def _let_in(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
