"""How an endpoint wants to be spoken to: rendering a question as the bytes that are sent.

OpenAI-compatible endpoints differ in how they take a JSON schema: as `json_schema` (OpenAI, vLLM,
llama.cpp's own server, Ollama), as JSON mode with the schema beside it (llama-cpp-python's server,
which makes a grammar of it), as JSON mode, or not at all; then the schema is told in words. The
newer models of OpenAI take `max_completion_tokens` and no temperature, and some chat templates know
no system message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from pipeline.question import Answer, Question

Structure = Literal["json_schema", "json_object_schema", "json_object", "text"]
STRUCTURES: tuple[Structure, ...] = ("json_schema", "json_object_schema", "json_object", "text")

PROBE = Question(
    key="probe",
    messages=(
        {"role": "system", "content": "You answer in JSON."},
        {"role": "user", "content": "Say hello."},  # only who honours the schema says `ready`
    ),
    schema_name="ready",
    schema={
        "type": "object",
        "properties": {"ready": {"type": "boolean"}},
        "required": ["ready"],
        "additionalProperties": False,
    },
    max_tokens=200,
)


@dataclass(frozen=True)
class Dialect:
    """What an endpoint takes."""

    structure: Structure = "json_schema"
    limit_field: str = "max_tokens"
    takes_temperature: bool = True
    takes_system: bool = True

    def render(self, question: Question, model: str) -> bytes:
        """The body of the request, as it is sent and as it is hashed."""
        request: dict[str, Any] = {
            "model": model,
            "messages": self._messages(question),
            self.limit_field: question.max_tokens,
        }
        if self.takes_temperature:
            request["temperature"] = question.temperature
        if question.seed is not None:
            request["seed"] = question.seed
        form = _response_format(self.structure, question)
        if form:
            request["response_format"] = form
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)

    def request(self, question: Question, model: str) -> Request:
        """The question with its body and its name."""
        body = self.render(question, model)
        return Request(question, body, name_of(body))

    def _messages(self, question: Question) -> list[dict[str, str]]:
        messages = [dict(message) for message in question.messages]
        if self.structure in {"json_object", "text"}:
            schema = orjson.dumps(question.schema).decode()
            wish = f"Answer with JSON alone, without a fence, that fits this JSON schema: {schema}"
            messages[0]["content"] += f"\n{wish}"
        if not self.takes_system and messages[0]["role"] == "system":
            first, second, *rest = messages
            joined = f"{first['content']}\n\n{second['content']}"
            messages = [{"role": "user", "content": joined}, *rest]
        return messages


@dataclass(frozen=True, slots=True)
class Request:
    """A question as one endpoint is asked it; `name` is what it is stored under."""

    question: Question
    body: bytes
    name: str


def name_of(body: bytes) -> str:
    """What a request is stored under: the hash of all that is sent, in hex."""
    return hashlib.sha256(body).hexdigest()


def _response_format(structure: Structure, question: Question) -> dict[str, Any] | None:
    schema = dict(question.schema)
    if structure == "json_schema":
        named = {"name": question.schema_name, "schema": schema, "strict": True}
        return {"type": "json_schema", "json_schema": named}
    if structure == "json_object_schema":
        return {"type": "json_object", "schema": schema}
    return {"type": "json_object"} if structure == "json_object" else None


class NoDialectError(Exception):
    """No probe was answered at all: whether one was refused, and the last one's problem."""

    def __init__(self, refused: bool, problem: str) -> None:
        super().__init__(problem)
        self.refused = refused


async def find_dialect(
    ask: Callable[[Question, Dialect], Awaitable[Answer]], dialect: Dialect
) -> Dialect:
    """The strictest dialect that the endpoint takes and answers well in, from `dialect` on.

    A model too weak for the probe gets the strictest that was answered. Raises NoDialectError.
    """
    accepted: Dialect | None = None
    was_refused = False
    while True:
        answer = await ask(PROBE, dialect)
        if answer.content is not None:
            return dialect
        refused = (answer.problem or "").startswith("refused_by_server")
        was_refused = was_refused or refused
        if answer.usage.prompt_tokens and accepted is None:  # it was answered, though not well
            accepted = dialect
        better = _mended(dialect, answer.raw or "") if refused else None
        better = better or _looser(dialect)
        if better is None:
            if accepted is None:
                raise NoDialectError(was_refused, f"{answer.problem}: {answer.raw or ''}"[:300])
            return accepted
        dialect = better


def _mended(dialect: Dialect, words: str) -> Dialect | None:
    """What the server's words ask for, where they name a field that it does not take."""
    if PROBE.messages[-1]["content"] in words:
        return None  # who repeats the whole request names every field
    if "max_completion_tokens" in words and dialect.limit_field == "max_tokens":
        return replace(dialect, limit_field="max_completion_tokens")
    if "temperature" in words and dialect.takes_temperature:
        return replace(dialect, takes_temperature=False)
    if "system" in words.lower() and "role" in words.lower() and dialect.takes_system:
        return replace(dialect, takes_system=False)
    return None


def _looser(dialect: Dialect) -> Dialect | None:
    place = STRUCTURES.index(dialect.structure) + 1
    return replace(dialect, structure=STRUCTURES[place]) if place < len(STRUCTURES) else None
