"""What the teacher's answers cost, and the cap that is never passed.

Before a request leaves, the most that it can cost is reserved; when it has landed, what it really
cost takes the reservation's place. A request that was lost on the way may be billed all the same:
its reservation is never given back. The most that was in flight at once is written down before it
leaves, so that what a killed process had in flight counts as lost too.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.answers import Answers
from pipeline.completion import LostError, Usage
from pipeline.manifest import Spend
from pipeline.metrics import add_cost, count_tokens
from pipeline.teacher_config import TeacherConfig

_AHEAD = 1.25  # of what is in flight is written down, so that it is seldom written


class CapReachedError(Exception):
    """The next request could pass the cap."""


class Purse:
    """The money of one teacher in one stage."""

    def __init__(self, stage: str, config: TeacherConfig, answers: Answers) -> None:
        self.config, self._answers = config, answers
        self._paid = Spend(currency=config.prices.currency)
        self.in_flight, self.holds = 0.0, 0  # money, and requests
        self._landed = asyncio.Event()
        self._note = f"purse of {stage}, {config.model} at {config.base_url}"
        left = answers.noted(self._note) or {"in_flight": 0.0, "lost": 0.0}
        self.lost = left["lost"] + left["in_flight"]
        self._written = 0.0
        if left["in_flight"]:
            self._write()

    @property
    def spend(self) -> Spend:
        """What the answers used so far cost, and what was lost at most."""
        return self._paid.model_copy(update={"lost_cost_at_most": self.lost})

    def affords(self, most: float) -> bool:
        """Whether a request of at most this cost may leave now."""
        return self.in_flight + most <= self._room()

    def _room(self) -> float:
        """The most that may be in flight."""
        cap = self.config.max_cost
        return math.inf if cap is None else cap - self._paid.cost - self.lost

    @asynccontextmanager
    async def reserved(self, most: float) -> AsyncIterator[None]:
        """Hold `most` while a request is in flight.

        Where the cap forbids it now, wait for what is in flight, which mostly costs less than was
        reserved. Raises CapReachedError where nothing is.
        """
        while not self.affords(most):
            if not self.holds:
                raise CapReachedError
            self._landed.clear()
            await self._landed.wait()
        lost = False
        try:
            self.hold(most)
            yield
        except (LostError, asyncio.CancelledError, sqlite3.Error):  # billed, and not stored
            lost = True
            raise
        finally:
            self.release(most, lost)

    def hold(self, most: float, written: bool = True) -> None:
        """Reserve, and have it on the disk that so much is in flight (batches do so themselves)."""
        self.holds += 1
        self.in_flight += most
        if written and self.in_flight > self._written:
            self._written = max(self.in_flight, min(self.in_flight * _AHEAD, self._room()))
            self._write()

    def release(self, most: float, lost: bool = False) -> None:
        """It has landed, or was lost and may be billed."""
        self.holds -= 1
        self.in_flight = self.in_flight - most if self.holds else 0.0  # sums of floats drift
        self._landed.set()
        if lost:
            self.lost += most
            self._write()

    def settle(self) -> None:
        """Write down that nothing is in flight any more, if that is so."""
        if not self.holds and self._written:
            self._written = 0.0
            self._write()

    def pay(self, request: str, usage: Usage, estimate: tuple[int, int], cached: bool) -> None:
        """Count an answer, once for each request, whenever it was paid for."""
        if not self._answers.first_use(request):
            return
        cost = self.config.cost(usage.prompt_tokens, usage.completion_tokens, usage.batched)
        if not cached:
            count_tokens("prompt", usage.prompt_tokens)
            count_tokens("completion", usage.completion_tokens)
            add_cost(self._paid.currency, cost)
        old = self._paid
        self._paid = Spend(
            calls=old.calls + 1,
            cached_calls=old.cached_calls + cached,
            batched_calls=old.batched_calls + usage.batched,
            prompt_tokens=old.prompt_tokens + usage.prompt_tokens,
            completion_tokens=old.completion_tokens + usage.completion_tokens,
            reasoning_tokens=old.reasoning_tokens + usage.reasoning_tokens,
            estimated_prompt_tokens=old.estimated_prompt_tokens + estimate[0],
            estimated_completion_tokens=old.estimated_completion_tokens + estimate[1],
            cost=old.cost + cost,
            currency=old.currency,
        )

    def _write(self) -> None:
        self._answers.note(self._note, {"in_flight": self._written, "lost": self.lost})
