"""What the teacher's answers cost, and the cap that is never passed.

Before a request leaves, the most that it can cost is reserved; when it has landed, what it really
cost takes the reservation's place. A request that was lost on the way may be billed all the same:
its reservation is never given back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.manifest import Spend
from pipeline.teacher_config import TeacherConfig


class CapReachedError(Exception):
    """The next request could pass the cap."""


class LostError(Exception):
    """A request left and no answer came back; it may be billed."""


class Purse:
    """The money of one stage."""

    def __init__(self, config: TeacherConfig) -> None:
        self.config = config
        self.spend = Spend(currency=config.prices.currency)
        self.in_flight = 0.0
        self.lost = 0.0
        self._counted: set[str] = set()

    @contextmanager
    def reserved(self, most: float) -> Iterator[None]:
        """Hold `most` while a request is in flight; CapReachedError where the cap forbids it."""
        cap = self.config.max_cost
        if cap is not None and self.spend.cost + self.lost + self.in_flight + most > cap:
            raise CapReachedError
        self.in_flight += most
        try:
            yield
        except LostError:
            self.lost += most
            raise
        finally:
            self.in_flight -= most

    def pay(self, request: str, prompt_tokens: int, completion_tokens: int, cached: bool) -> None:
        """Count an answer, once for each request, whenever it was paid for."""
        if request in self._counted:
            return
        self._counted.add(request)
        old = self.spend
        self.spend = Spend(
            calls=old.calls + 1,
            cached_calls=old.cached_calls + cached,
            prompt_tokens=old.prompt_tokens + prompt_tokens,
            completion_tokens=old.completion_tokens + completion_tokens,
            cost=old.cost + self.config.cost(prompt_tokens, completion_tokens),
            currency=old.currency,
        )
