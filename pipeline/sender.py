"""One request until it is answered, refused or given up: retries, money and memory.

Retries are counted here and in no library, because each try is money: it reserves its own bound.
A document is given up only while the endpoint answers others; when nothing succeeds any more, it is
the endpoint that is down, and the run stops, to be gone on with later.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
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
    failure: Exception | None = None

    async def send(self, request: Request, may_wait: bool = True) -> Answer:
        """The stored answer, or a fresh one, stored by now; else what the server's problem was.

        `may_wait` is false for a probe, which is given up after a second try: some servers say 500
        to what they do not know. Raises
        CapReachedError, StoppedError, InputError, or HaltedError after one of these.
        """
        question, name = request.question, request.name
        stored = self.answers.get(name)
        if stored is not None:
            self.purse.pay(name, usage_of(stored), likely_tokens(question), cached=True)
            return read_answer(question, stored)
        pauses = random.Random(name)  # noqa: S311  # spreads retries, decides nothing
        tries, started_at = 0.0, time.monotonic()
        most_tries = self.config.max_retries if may_wait else min(1, self.config.max_retries)
        while True:
            pause_seconds = min(0.25 * 2**tries * (1 + pauses.random()), _LONGEST_PAUSE_SECONDS)
            try:
                return read_answer(question, await self._try(request))
            except RejectedError as error:
                return self._give_up(request, server_problem(*error.args))
            except LostError as error:
                problem, tries = str(error), tries + 1
            except BusyError as error:
                problem = str(error)
                tries += _PUSHED_BACK_TRY if error.pushed_back else 1
                pause_seconds = min(error.wait_seconds or pause_seconds, _LONGEST_PAUSE_SECONDS)
            self._look_whether_down(problem)
            others_succeed = self.pace.good_at > started_at
            if tries > most_tries and (others_succeed or not may_wait):
                return self._give_up(request, server_problem(problem))
            await asyncio.sleep(pause_seconds)

    async def _try(self, request: Request) -> dict[str, Any]:
        """One request and its raw answer, paid for and stored before another may leave."""
        most = most_tokens(request.question, request.body)
        likely = likely_tokens(request.question)
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
                self.purse.pay(request.name, usage_of(stored), likely, cached=False)
                self.pace.landed(sent_at)
            await self.answers.put_soon(request.name, stored)
            return stored
        finally:
            self.pace.leave()

    def _give_up(self, request: Request, problem: dict[str, Any]) -> Answer:
        self.given_up[request.name] = problem
        return read_answer(request.question, problem)

    def _look_whether_down(self, problem: str) -> None:
        try:
            self.pace.failed()
        except DownError:
            raise StoppedError(
                self.transport.stage,
                f"the teacher at {self.transport.base_url} is down: nothing has succeeded for "
                f"{self.config.patience_seconds:g} s (last: {problem})",
                "see to it or correct teacher.base_url; finished answers are kept, and the same "
                "command goes on from here",
            ) from None
