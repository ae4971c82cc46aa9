"""The teacher's client: one async client for labelling and for writing, exact about money.

Each question is one chat completion with a JSON schema. A finished answer is stored at once
(`pipeline.answers`) and never asked for again. An unusable answer is asked to be repaired once,
then returned with its problem: it never becomes a score. Before a request leaves, an upper bound
of its cost is reserved (`pipeline.purse`); when the cap could be passed, nothing more is sent, and
what is in flight is waited for and stored.

Retries are counted here and not in the openai package, because each try is money: it reserves its
own bound.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.answers import Answers
from pipeline.environment import secret
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.manifest import Spend, hash_json
from pipeline.purse import CapReachedError, LostError, Purse
from pipeline.question import (
    Answer,
    Question,
    most_tokens,
    read_answer,
    read_completion,
    render,
    repair,
    server_problem,
)
from pipeline.stage import Workplace
from pipeline.teacher_config import TeacherConfig

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_LONGEST_PAUSE_SECONDS = 60.0
_REPAIRABLE = {"unparsable", "wrong_schema", "empty"}
_UNREACHABLE = "unreachable"


class _BusyError(Exception):
    """Not now: the server says so, or nothing listens."""

    def __init__(self, problem: str, wait_seconds: float | None = None) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds


class _RejectedError(Exception):
    """This request, never: the server's reason and its words."""


class Teacher:
    """An opened endpoint. `ask` is a plain call; the concurrency is inside."""

    def __init__(self, stage: str, config: TeacherConfig, base_url: str, answers: Answers) -> None:
        self.stage, self.config, self.base_url, self.answers = stage, config, base_url, answers
        self.name, self.is_llm = config.name, config.is_llm
        self._purse = Purse(config)
        self._failure: Exception | None = None  # once set, nothing more is sent

    @property
    def spend(self) -> Spend:
        """What the answers used so far cost, whenever they were paid for."""
        return self._purse.spend

    def ask(self, questions: Sequence[Question], advance: Callable[..., None]) -> list[Answer]:
        """Answers in the order of the questions; the same request twice is asked once.

        Raises StoppedError at the cap, StageError where the teacher cannot be reached, InputError
        where it refuses the key or does not know the model. Finished answers are stored by then.
        """
        # Stored answers are counted first, so that the cap knows of them before anything is sent.
        names = [hash_json(render(question, self.config.model)) for question in questions]
        found: dict[str, Answer] = {}
        missing: dict[str, Question] = {}
        for name, question in zip(names, questions, strict=True):
            answer = found.get(name) or self._remember(question)
            if answer is None:
                missing[name] = question
            else:
                found[name] = answer
        advance(len(questions) - len(missing), note=self._note())
        if missing:
            found |= asyncio.run(self._ask_missing(missing, advance))
        return [
            replace(found[name], key=question.key)
            for name, question in zip(names, questions, strict=True)
        ]

    def _remember(self, question: Question) -> Answer | None:
        """The stored answer, or its stored repair; None where something is still to be asked."""
        answer = self._recall(question)
        if answer is not None and answer.problem in _REPAIRABLE:
            answer = self._recall(repair(question, answer))
        return answer

    def _recall(self, question: Question) -> Answer | None:
        name = hash_json(render(question, self.config.model))
        stored = self.answers.get(name)
        if stored is None:
            return None
        self._purse.pay(name, stored["prompt_tokens"], stored["completion_tokens"], cached=True)
        return read_answer(question, stored, cached=True)

    async def _ask_missing(
        self, missing: Mapping[str, Question], advance: Callable[..., None]
    ) -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        gate = asyncio.Semaphore(self.config.max_concurrency)
        self._failure = None

        async def ask_one(client: AsyncOpenAI, name: str, question: Question) -> None:
            async with gate:
                try:
                    found[name] = await self._answer(client, question)
                except Exception as error:  # what is in flight beside it must still land
                    self._failure = self._failure or error
                    return
            advance(1, note=self._note())

        async with self._client() as client:
            await asyncio.gather(*(ask_one(client, *item) for item in missing.items()))
        if isinstance(self._failure, CapReachedError):
            raise self._stopped()
        if self._failure is not None:
            raise self._failure
        return found

    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        variable, key = self.config.key_variable, self._key()
        if variable and key is None:
            raise InputError(
                self.stage,
                f"the environment variable {variable!r} (teacher.key_variable) is not set",
                "export the teacher's key under that name",
            )
        return AsyncOpenAI(
            base_url=self.base_url,
            api_key=key or "none",
            timeout=self.config.timeout_seconds,
            max_retries=0,
            # a proxy of the environment is for others, not for the stand-in on loopback
            http_client=DefaultAsyncHttpxClient(trust_env=self.is_llm),
        )

    def _key(self) -> str | None:
        variable = self.config.key_variable
        return secret(variable) if variable else None

    async def _answer(self, client: AsyncOpenAI, question: Question) -> Answer:
        answer = self._recall(question) or await self._send(client, question)
        if answer.problem in _REPAIRABLE:
            again = repair(question, answer)
            answer = self._recall(again) or await self._send(client, again)
        return answer

    async def _send(self, client: AsyncOpenAI, question: Question) -> Answer:
        """A fresh answer, stored; after the last try, one that says what the server's problem was.

        Raises CapReachedError, and StageError where nothing can be reached.
        """
        request = render(question, self.config.model)
        name = hash_json(request)
        most = most_tokens(question)
        pauses = random.Random(name)  # noqa: S311  # spreads retries, decides nothing
        problem = ""
        for tries in range(self.config.max_retries + 1):
            if self._failure is not None:
                raise self._failure
            wait_seconds = 0.25 * 2**tries * (1 + pauses.random())
            try:
                with self._purse.reserved(self.config.cost(*most)):
                    stored = read_completion(await self._post(client, request), most)
                self.answers.put(name, stored)
                self._purse.pay(name, stored["prompt_tokens"], stored["completion_tokens"], False)
                return read_answer(question, stored, cached=False)
            except _RejectedError as error:
                return read_answer(question, server_problem(*error.args), cached=False)
            except LostError as error:
                problem = str(error)
            except _BusyError as error:
                problem = str(error)
                wait_seconds = wait_seconds if error.wait_seconds is None else error.wait_seconds
            if tries < self.config.max_retries:
                await asyncio.sleep(min(wait_seconds, _LONGEST_PAUSE_SECONDS))
        if problem.startswith(_UNREACHABLE):
            raise StageError(
                self.stage,
                f"the teacher at {self.base_url} cannot be reached ({problem})",
                "start it or correct teacher.base_url; the same command goes on from here",
            )
        return read_answer(question, server_problem(problem), cached=False)

    async def _post(self, client: AsyncOpenAI, request: Mapping[str, Any]) -> str:
        """The body of the response. Raises what the loop in `_send` knows, or InputError."""
        import openai

        try:
            # the package's own timeout begins anew with every byte that trickles in
            async with asyncio.timeout(self.config.timeout_seconds):
                response = await client.chat.completions.with_raw_response.create(**request)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise InputError(
                self.stage,
                f"the teacher at {self.base_url} refuses the key ({error.status_code})",
                f"check the environment variable {self.config.key_variable!r}",
            ) from None
        except openai.NotFoundError:
            raise InputError(
                self.stage,
                f"the teacher at {self.base_url} does not know {self.config.model!r}",
                "correct teacher.model or teacher.base_url",
            ) from None
        except (openai.RateLimitError, openai.InternalServerError) as error:
            kind = "rate_limited" if error.status_code == 429 else "server_error"
            raise _BusyError(kind, _retry_after(error.response.headers)) from None
        except openai.APIStatusError as error:
            # some gateways repeat what they were sent, and these words end in the labels
            words = error.response.text
            words = words.replace(key, "[key]") if (key := self._key()) else words
            raise _RejectedError(f"refused_by_server_{error.status_code}", words[:500]) from None
        except (openai.APITimeoutError, TimeoutError):
            raise LostError("timed_out") from None
        except openai.APIConnectionError as error:
            # by name, because the openai package has changed its HTTP library once
            if type(error.__cause__).__name__ == "ConnectError":
                raise _BusyError(f"{_UNREACHABLE}: {error.__cause__}") from None
            raise LostError("connection_lost") from None
        return str(response.http_response.text)

    def _note(self) -> str:
        spent = self.spend
        return f"{spent.cost:.4f} {spent.currency}" if self.is_llm else ""

    def _stopped(self) -> StoppedError:
        return StoppedError(
            self.stage,
            f"the cap of {self.config.max_cost} {self.spend.currency} is reached "
            f"({self.spend.cost:.4f} spent, the next request could pass it)",
            "raise teacher.max_cost; finished answers are kept and not paid again",
        )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


@contextmanager
def open_teacher(place: Workplace, config: TeacherConfig) -> Iterator[Teacher]:
    """The configured endpoint, or the stand-in started for as long as the block runs."""
    from pipeline.standin_server import started_standin

    answers = Answers(place.run / "answers.sqlite")
    try:
        if config.base_url is not None:
            yield Teacher(place.stage, config, config.base_url, answers)
            return
        with started_standin(place.stage) as base_url:
            yield Teacher(place.stage, config, base_url, answers)
    finally:
        answers.close()
