"""The teacher's client: one async client for labelling and for writing, exact about money.

Each question is one chat completion with a JSON schema. A finished answer is stored at once
(`pipeline.answers`) and never asked for again. An unusable answer is asked to be repaired once,
then returned with its problem: it never becomes a score. Before a request leaves, an upper bound
of its cost is reserved; when the cap could be passed, nothing more is sent.
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
from pipeline.question import (
    Answer,
    Question,
    read_answer,
    render,
    server_problem,
    upper_bound,
)
from pipeline.stage import Workplace
from pipeline.teacher_config import TeacherConfig

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_LONGEST_PAUSE_SECONDS = 60.0


class _CapReached(Exception):  # noqa: N818  # a signal between coroutines
    pass


class Teacher:
    """An opened endpoint. `ask` is a plain call; the concurrency is inside."""

    def __init__(self, stage: str, config: TeacherConfig, base_url: str, answers: Answers) -> None:
        self.stage, self.config, self.base_url, self.answers = stage, config, base_url, answers
        self.name, self.is_llm = config.name, config.is_llm
        self._spend = Spend(currency=config.prices.currency)
        self._reserved = 0.0  # in flight
        self._lost = 0.0  # timed out: the server may bill them all the same

    @property
    def spend(self) -> Spend:
        """What the answers used so far cost, whenever they were paid for."""
        return self._spend

    def ask(self, questions: Sequence[Question], advance: Callable[..., None]) -> list[Answer]:
        """Answers in the order of the questions.

        Raises StoppedError at the cap, StageError where the teacher cannot be reached, InputError
        where it refuses the key or does not know the model. Finished answers are stored by then.
        """
        return asyncio.run(self._ask_all(questions, advance))

    async def _ask_all(
        self, questions: Sequence[Question], advance: Callable[..., None]
    ) -> list[Answer]:
        from openai import AsyncOpenAI

        gate = asyncio.Semaphore(self.config.max_concurrency)
        key = secret(self.config.key_variable) if self.config.key_variable else None
        if self.config.key_variable and key is None:
            raise InputError(
                self.stage,
                f"the environment variable {self.config.key_variable!r} (teacher.key_variable) "
                "is not set",
                "export the teacher's key under that name",
            )
        async with AsyncOpenAI(
            base_url=self.base_url,
            api_key=key or "none",
            timeout=self.config.timeout_seconds,
            max_retries=0,
        ) as client:

            async def one(question: Question) -> Answer:
                async with gate:
                    answer = await self._answer(client, question)
                spent = self._spend
                advance(1, note=f"{spent.cost:.4f} {spent.currency}" if self.is_llm else "")
                return answer

            tasks = [asyncio.ensure_future(one(question)) for question in questions]
            try:
                return list(await asyncio.gather(*tasks))
            except _CapReached as error:
                raise self._stopped() from error
            finally:
                await _settle(tasks)

    async def _answer(self, client: AsyncOpenAI, question: Question) -> Answer:
        answer = await self._ask_once(client, question)
        if answer.problem in {"unparsable", "wrong_schema", "empty"}:
            repair = {
                "role": "user",
                "content": f"That answer was {answer.problem}. Answer again with JSON alone that "
                f"fits the schema {question.schema_name!r}.",
            }
            said = {"role": "assistant", "content": answer.raw or ""}
            again = replace(question, messages=(*question.messages, said, repair))
            answer = await self._ask_once(client, again)
        return answer

    async def _ask_once(self, client: AsyncOpenAI, question: Question) -> Answer:
        request = render(question, self.config.model)
        name = hash_json(request)
        stored = self.answers.get(name)
        cached = stored is not None
        if stored is None:
            stored = await self._send(client, question, request)
            if "server_problem" not in stored:
                self.answers.put(name, stored)
        self._count(stored, cached)
        return read_answer(question, stored, cached)

    def _count(self, stored: Mapping[str, Any], cached: bool) -> None:
        old = self._spend
        prompt, completion = stored["prompt_tokens"], stored["completion_tokens"]
        self._spend = Spend(
            calls=old.calls + 1,
            cached_calls=old.cached_calls + cached,
            prompt_tokens=old.prompt_tokens + prompt,
            completion_tokens=old.completion_tokens + completion,
            cost=old.cost + self.config.cost(prompt, completion),
            currency=old.currency,
        )

    async def _send(
        self, client: AsyncOpenAI, question: Question, request: dict[str, Any]
    ) -> dict[str, Any]:
        """The raw answer; after the last try, a record of the server's problem."""
        import openai

        pauses = random.Random(question.key)  # noqa: S311  # spreads retries, decides nothing
        for tries in range(self.config.max_retries + 1):
            try:
                return await self._send_once(client, question, request)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise InputError(
                    self.stage,
                    f"the teacher at {self.base_url} refuses the key ({error.status_code})",
                    f"check the variable {self.config.key_variable!r}",
                ) from None
            except openai.NotFoundError:
                raise InputError(
                    self.stage,
                    f"the teacher at {self.base_url} does not know {self.config.model!r}",
                    "correct teacher.model or teacher.base_url",
                ) from None
            except (openai.RateLimitError, openai.InternalServerError) as error:
                problem, wait = "server_error", _retry_after(error.response.headers)
            except openai.APITimeoutError:
                problem, wait = "timed_out", None
                self._lost += upper_bound(question, self.config)
            except openai.APIConnectionError as error:
                problem, wait = f"unreachable ({error.__cause__ or error})", None
            except openai.APIStatusError as error:
                return server_problem(f"refused_by_server_{error.status_code}")
            except openai.APIError:
                problem, wait = "server_error", None
            if tries < self.config.max_retries:
                wait = 0.25 * 2**tries * (1 + pauses.random()) if wait is None else wait
                await asyncio.sleep(min(wait, _LONGEST_PAUSE_SECONDS))
        if problem.startswith("unreachable"):
            raise StageError(
                self.stage,
                f"the teacher at {self.base_url} cannot be reached: {problem}",
                "start it or correct teacher.base_url; the same command goes on from here",
            )
        return server_problem(problem)

    async def _send_once(
        self, client: AsyncOpenAI, question: Question, request: dict[str, Any]
    ) -> dict[str, Any]:
        bound = upper_bound(question, self.config)
        if (
            self.config.max_cost is not None
            and self._spend.cost + self._lost + self._reserved + bound > self.config.max_cost
        ):
            raise _CapReached
        self._reserved += bound
        try:
            completion = await client.chat.completions.create(**request)
        finally:
            self._reserved -= bound
        choice = completion.choices[0] if completion.choices else None
        usage = completion.usage
        return {
            "content": choice.message.content if choice else None,
            "refusal": choice.message.refusal if choice else None,
            "finish_reason": choice.finish_reason if choice else None,
            "prompt_tokens": usage.prompt_tokens if usage else 0,
            "completion_tokens": usage.completion_tokens if usage else 0,
        }

    def _stopped(self) -> StoppedError:
        return StoppedError(
            self.stage,
            f"the cap of {self.config.max_cost} {self._spend.currency} is reached "
            f"({self._spend.cost:.4f} spent, the next request could pass it)",
            "raise teacher.max_cost; finished answers are kept and not paid again",
        )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


async def _settle(tasks: Sequence[asyncio.Future[Answer]]) -> None:
    """Stop what has not been sent; let nothing go on behind a raised error."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
