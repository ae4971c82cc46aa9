"""The teacher: one client for labelling and for writing, exact about money.

Each question is one chat completion with a JSON schema. A finished answer is on the disk before it
counts (`pipeline.answers`) and never asked for again. An unusable answer is asked to be repaired
once, then returned with its problem: it never becomes a score. Questions are read as they are sent,
and answers are read back from the disk, so memory does not grow with their number.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from pipeline.answers import Answers
from pipeline.batch_notes import check_none_is_out
from pipeline.completion import usage_of
from pipeline.dialect import PROBE, Dialect, NoDialectError, Request, find_dialect
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.manifest import Spend
from pipeline.pace import Pace
from pipeline.purse import CapReachedError, Purse
from pipeline.question import REPAIRABLE, Answer, Question, likely_tokens, read_answer, repair
from pipeline.sender import HaltedError, Sender
from pipeline.stoppable import run_stoppable
from pipeline.teacher_config import BatchConfig, TeacherConfig
from pipeline.transport import open_transport

_LOOKED_UP_AT_ONCE = 64
_LOOK_AGAIN_SECONDS = 0.5  # while the endpoint is ill
# For what is in flight when a run is stopped: it is billed anyway. Who stops a run kills it later:
# Prefect after 30 s, a container engine after 10 s.
_LAST_ANSWERS_SECONDS = 8.0


class Teacher:
    """An opened endpoint. `ask` is a plain call; the concurrency is inside."""

    def __init__(
        self, stage: str, config: TeacherConfig, base_url: str, answers: Answers,
        dialect: Dialect | None = None,
    ) -> None:  # fmt: skip
        """`dialect` is None where the endpoint is to be asked what it takes."""
        self.stage, self.config, self.base_url, self.answers = stage, config, base_url, answers
        self.name, self.is_llm = config.name, config.is_llm
        self._dialect = dialect or self._known_dialect()
        self._purse = Purse(stage, config, answers)
        self._given_up: dict[str, dict[str, Any]] = {}  # why a request has no answer
        self._sender: Sender | None = None  # while there is something to ask
        for name, stored in answers.get_all(answers.noted(self._probes_note) or []).items():
            self._purse.pay(name, usage_of(stored), likely_tokens(PROBE), cached=True)

    @property
    def spend(self) -> Spend:
        """What the answers used so far cost, whenever they were paid for."""
        return self._purse.spend

    def ask(self, questions: Sequence[Question], advance: Callable[..., None]) -> list[Answer]:
        """Answers in the order of the questions; see `fetch`."""
        self.fetch(questions, advance)
        return list(self.answers_to(questions))

    def fetch(self, questions: Iterable[Question], advance: Callable[..., None]) -> None:
        """Ask whatever is not answered yet; the same request twice is asked once.

        `questions` is read up to three times, so it is no generator. Raises StoppedError at the cap
        and where the endpoint is down, InputError where it refuses the key or does not know the
        model. Finished answers are stored by then, and where a signal ends it (by an exception in
        the main thread), so are those that were in flight and came within a few seconds.
        """
        if self._dialect is None or self._lacks_any(questions):
            patience_seconds = _LAST_ANSWERS_SECONDS if self.config.batch is None else 0.0
            asking = self._ask_missing(questions, advance)
            run_stoppable(asking, self._send_no_more, patience_seconds)
        else:
            advance(sum(1 for _ in questions), note=self._note())

    def answers_to(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """The answers, in the order of the questions; all of these were fetched before."""
        for request, stored in self._looked_up(questions):
            answer = read_answer(request.question, stored or self._given_up[request.name])
            if stored is not None and answer.problem in REPAIRABLE:
                again = self._request(repair(request.question, answer))
                better = self.answers.get(again.name) or self._given_up[again.name]
                answer = read_answer(again.question, better)
            yield answer

    def _looked_up(
        self, questions: Iterable[Question]
    ) -> Iterator[tuple[Request, dict[str, Any] | None]]:
        """Each question as a request, and the stored answer."""
        remaining = iter(questions)
        while chunk := list(islice(remaining, _LOOKED_UP_AT_ONCE)):
            requests = [self._request(question) for question in chunk]
            stored = self.answers.get_all(request.name for request in requests)
            for request in requests:
                yield request, stored.get(request.name)

    def _missing(
        self, questions: Iterable[Question], advance: Callable[..., None]
    ) -> Iterator[Request]:
        """The requests to send: questions without an answer, and repairs; the others are paid."""
        for request, stored in self._looked_up(questions):
            if stored is None:
                if request.name in self._given_up:
                    advance(1)
                else:
                    yield request
                continue
            answer = self._recall(request, stored)
            if answer.problem in REPAIRABLE:
                again = self._request(repair(request.question, answer))
                stored_again = self.answers.get(again.name)
                if stored_again is not None:
                    self._recall(again, stored_again)
                elif again.name not in self._given_up:
                    yield again
                    continue
            advance(1, note=self._note())

    def _recall(self, request: Request, stored: Mapping[str, Any]) -> Answer:
        """A stored answer, paid for."""
        question = request.question
        self._purse.pay(request.name, usage_of(stored), likely_tokens(question), cached=True)
        return read_answer(question, stored)

    def _lacks_any(self, questions: Iterable[Question]) -> bool:
        missing = self._missing(questions, lambda *_, **__: None)
        if self.config.max_cost is None or self.answers.is_empty():
            return next(missing, None) is not None
        return sum(1 for _ in missing) > 0  # all are counted, so that the cap knows of them

    async def _ask_missing(
        self, questions: Iterable[Question], advance: Callable[..., None]
    ) -> None:
        config, answers = self.config, self.answers
        async with open_transport(self.stage, config, self.base_url, answers) as transport:
            sender = Sender(config, transport, answers, self._purse, Pace(config), self._given_up)
            self._sender = sender
            try:
                if self._dialect is None:
                    self._dialect = await self._find_dialect(sender)
                sender.probe = self._request(PROBE)
                if config.batch is None:
                    check_none_is_out(sender)
                    await self._ask_at_once(sender, questions, advance)
                else:
                    await self._ask_in_batches(sender, config.batch, questions, advance)
            except CapReachedError:
                raise self._stopped() from None
            finally:
                self._purse.settle()
                advance(0, note=self._note())

    def _send_no_more(self) -> None:
        if self._sender is not None:
            self._sender.halt(HaltedError())

    async def _ask_at_once(
        self, sender: Sender, questions: Iterable[Question], advance: Callable[..., None]
    ) -> None:
        room = asyncio.Semaphore(2 * self.config.max_concurrency)  # in flight, waiting, being kept
        tasks: dict[str, asyncio.Task[None]] = {}

        async def settle(request: Request) -> None:
            mine = [request.name]
            try:
                answer = await sender.send(request)
                if answer.problem in REPAIRABLE and not request.question.is_repair:
                    again = self._request(repair(request.question, answer))
                    if again.name not in tasks:  # the same question may stand elsewhere too
                        tasks[again.name] = tasks[request.name]
                        mine.append(again.name)
                        await sender.send(again)
                advance(1, note=self._note())
            except Exception as error:  # what is in flight beside it must still land
                sender.halt(error)
            finally:
                for name in mine:
                    del tasks[name]
                room.release()

        try:
            for request in self._missing(questions, advance):
                if request.name in tasks:
                    advance(1)
                    continue
                await room.acquire()
                if sender.failure:
                    break
                tasks[request.name] = asyncio.create_task(settle(request))
        except Exception as error:  # of whoever makes the questions
            sender.halt(error)
        except asyncio.CancelledError:  # a person stopped it
            for task in tasks.values():
                task.cancel()
            raise
        finally:
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        if sender.failure:
            raise sender.failure

    async def _ask_in_batches(
        self, sender: Sender, config: BatchConfig, questions: Iterable[Question],
        advance: Callable[..., None],
    ) -> None:  # fmt: skip
        from pipeline.batch_api import ask_in_batches

        tries: Counter[str] = Counter()
        left = sum(1 for _ in questions)

        def count(n: int, note: str) -> None:
            nonlocal left  # a repair is no further question, so not all that is answered counts
            advance(min(n, left), note=note)
            left -= min(n, left)

        asked = True
        while asked:
            missing = self._missing(questions, lambda *_, **__: None)
            asked = await ask_in_batches(sender, config, missing, tries, count)
        advance(left)

    async def _find_dialect(self, sender: Sender) -> Dialect:
        """What the endpoint takes; remembered, because what was answered is stored under it."""
        probes = []

        async def ask(question: Question, dialect: Dialect) -> Answer:
            request = dialect.request(question, self.config.model)
            probes.append(request.name)
            return await sender.send(request, may_wait=False)

        began = time.monotonic()
        while True:
            try:
                found = await find_dialect(ask, Dialect())
                break
            except NoDialectError as error:
                if error.refused or time.monotonic() - began > self.config.patience_seconds:
                    raise self._unusable(error) from None
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        self.answers.note(self._probes_note, sorted(set(probes)))
        self.answers.note(self._dialect_note, asdict(found))
        return found

    def _unusable(self, error: NoDialectError) -> StageError:
        kind = InputError if error.refused else StoppedError
        return kind(
            self.stage,
            f"the teacher at {self.base_url} answers nothing, however it is asked ({error})",
            "correct teacher, or see to the endpoint",
        )

    def _known_dialect(self) -> Dialect | None:
        """What the recipe says, or what the endpoint was found to take before."""
        if self.config.structured_output != "auto":
            return Dialect(self.config.structured_output)
        noted = self.answers.noted(self._dialect_note)
        return Dialect(**noted) if noted else None

    @property
    def _dialect_note(self) -> str:
        return f"dialect of {self.config.model} at {self.base_url}"

    @property
    def _probes_note(self) -> str:
        return f"probes of {self.stage}, {self.config.model} at {self.base_url}"

    def _request(self, question: Question) -> Request:
        assert self._dialect is not None
        return self._dialect.request(question, self.config.model)

    def _note(self) -> str:
        spent = self.spend
        return f"{spent.cost:.4f} {spent.currency}" if self.is_llm else ""

    def _stopped(self) -> StoppedError:
        spend, lost = self.spend, self._purse.lost
        maybe = f", {lost:.4f} perhaps lost" if lost else ""
        return StoppedError(
            self.stage,
            f"the cap of {self.config.max_cost} {spend.currency} is reached "
            f"({spend.cost:.4f} spent{maybe}, the next request could pass it)",
            "raise teacher.max_cost; finished answers are kept and not paid again",
        )
