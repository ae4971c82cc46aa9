"""One request until it is answered, refused or given up: retries, money and memory.

Retries are counted here and in no library, because each try is money: it reserves its own bound.
A document is given up only while the endpoint answers others, or a probe; when nothing succeeds any
more, it is the endpoint that is down, and the run stops, to be gone on with later.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline.answers import Answers
from pipeline.completion import LostError, read_completion, server_problem, usage_of
from pipeline.dialect import Request
from pipeline.errors import StoppedError
from pipeline.pace import DownError, Pace
from pipeline.purse import Purse
from pipeline.question import Answer, likely_tokens, most_tokens, read_answer
from pipeline.teacher_config import TeacherConfig
from pipeline.transport import BusyError, RejectedError, Transport

_LONGEST_PAUSE_SECONDS = 60.0
_PUSHED_BACK_TRY = 0.25  # a 429 says nothing against the document


class HaltedError(Exception):
    """Something else has stopped the run: nothing more is sent."""


@dataclass
class Sender:
    """What a request needs on its way. Once `failure` is set, nothing more is sent."""

    config: TeacherConfig
    transport: Transport
    answers: Answers
    purse: Purse
    pace: Pace
    given_up: dict[str, dict[str, Any]]  # by request: the server's problem
    probe: Request | None = None  # something easy, to tell a document's fault from an endpoint's
    failure: Exception | None = None
    _waiting: set[asyncio.Task[Any]] = field(default_factory=set)
    _one_probes: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, request: Request, may_wait: bool = True) -> Answer:
        """The stored answer, or a fresh one, stored by now; else what the server's problem was.

        `may_wait` is false for a probe, which is given up after a second try: some servers say 500
        to what they do not know. Raises CapReachedError, StoppedError, InputError, or HaltedError
        after one of these.
        """
        question, name = request.question, request.name
        stored = self.answers.get(name)
        if stored is not None:
            self.purse.pay(name, usage_of(stored), likely_tokens(question), cached=True)
            return read_answer(question, stored)
        pauses = random.Random(name)  # noqa: S311  # spreads retries, decides nothing
        tries, started_at, pushed_back = 0.0, time.monotonic(), False
        most_tries = self.config.max_retries if may_wait else min(1, self.config.max_retries)
        while True:
            spread = 0.25 * (1 + pauses.random())
            pause_seconds = min(spread * 2 ** min(tries, 9), _LONGEST_PAUSE_SECONDS)
            away = False
            try:
                return read_answer(question, await self._try(request))
            except RejectedError as error:
                return self._give_up(request, server_problem(*error.args))
            except LostError as error:
                problem, tries, pushed_back = str(error), tries + 1, False
            except BusyError as error:
                problem, away, pushed_back = str(error), error.is_away, error.pushed_back
                tries += _PUSHED_BACK_TRY if pushed_back else 1
                pause_seconds = min(error.wait_seconds or pause_seconds, _LONGEST_PAUSE_SECONDS)
            await self._look_whether_down(problem, pushed_back)
            others_succeed = self.pace.good_at > started_at
            if tries > most_tries and (others_succeed or not (may_wait or away)):
                return self._give_up(request, server_problem(problem))
            with self._idle():
                await asyncio.sleep(pause_seconds)

    def halt(self, failure: Exception) -> None:
        """Send nothing more; what is in flight still lands, and who only waits is woken."""
        if self.failure is None:
            self.failure = failure
            for task in self._waiting:
                task.cancel()

    @contextmanager
    def _idle(self) -> Iterator[None]:
        """A wait with nothing in flight. Raises HaltedError once the run has failed."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            if self.failure is not None:
                raise HaltedError
            yield
        except asyncio.CancelledError:
            if self.failure is not None:
                raise HaltedError from None
            raise
        finally:
            self._waiting.discard(task)

    async def _try(self, request: Request) -> dict[str, Any]:
        """One request and its raw answer, stored before another may leave or have its money."""
        most = most_tokens(request.question, request.body)
        likely = likely_tokens(request.question)
        with self._idle():
            await self.pace.enter(sum(likely))
        try:
            async with self.purse.reserved(self.config.cost(*most)):
                if self.failure is not None:
                    raise HaltedError
                sent_at = time.monotonic()
                try:
                    stored = read_completion(await self.transport.post(request.body), most)
                except BusyError as error:
                    if error.pushed_back:
                        self.pace.pushed_back(sent_at, error.wait_seconds)
                    raise
                except RejectedError:
                    self.pace.landed(sent_at)
                    raise
                self.pace.landed(sent_at)
                await self.answers.put_soon(request.name, stored)
                self.purse.pay(request.name, usage_of(stored), likely, cached=False)
            return stored
        finally:
            self.pace.leave()

    def _give_up(self, request: Request, problem: dict[str, Any]) -> Answer:
        self.given_up[request.name] = problem
        return read_answer(request.question, problem)

    async def _look_whether_down(self, problem: str, pushed_back: bool) -> None:
        try:
            self.pace.failed()
        except DownError:
            if pushed_back and self.purse.holds:  # it is at work on others
                return
            if await self._answers_probe():
                return
            raise StoppedError(
                self.transport.stage,
                f"the teacher at {self.transport.base_url} is down: nothing has succeeded for "
                f"{self.config.patience_seconds:g} s (last: {problem})",
                "see to it or correct teacher.base_url; finished answers are kept, and the same "
                "command goes on from here",
            ) from None

    async def _answers_probe(self) -> bool:
        """Whether it answers something easy: then it is the documents that it fails at.

        Nobody keeps that answer, so its money counts as lost.
        """
        failed_at = time.monotonic()
        async with self._one_probes:
            if self.probe is None or self.failure is not None or self.pace.good_at > failed_at:
                return self.pace.good_at > failed_at
            most = most_tokens(self.probe.question, self.probe.body)
            sent_at, answered = time.monotonic(), False
            with suppress(LostError, BusyError, RejectedError):
                async with self.purse.reserved(self.config.cost(*most)):
                    read_completion(await self.transport.post(self.probe.body), most)
                    answered = True
                    raise LostError
            if answered:
                self.pace.landed(sent_at)
            return answered
