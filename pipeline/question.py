"""A question to the teacher, its answer, and what stands between: reading, repairing, bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from pipeline.completion import Usage, usage_of

CHARS_PER_TOKEN = 4  # of English; OpenAI's rule of thumb
REPAIRABLE = frozenset({"unparsable", "wrong_schema", "empty"})

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)  # as reasoning models put it first
_FENCED = re.compile(r"\A[^`]*```(?:json)?[ \t]*\n(.*?)\n[ \t]*```[^`]*\Z", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """One request; `key` is the caller's name for it and stays out of the request."""

    key: str
    messages: tuple[dict[str, str], ...]
    schema_name: str
    schema: Mapping[str, Any]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    is_repair: bool = False


@dataclass(frozen=True)
class Answer:
    """One answer: `content` that fits the schema, or the `problem` that it has."""

    key: str
    content: dict[str, Any] | None
    problem: str | None
    raw: str | None
    finish_reason: str | None
    usage: Usage


def read_answer(question: Question, stored: Mapping[str, Any]) -> Answer:
    """What a raw answer says, or what is wrong with it."""
    content, problem = _read_content(question, stored)
    return Answer(
        key=question.key,
        content=content,
        problem=problem,
        raw=stored["content"],
        finish_reason=stored["finish_reason"],
        usage=usage_of(stored),
    )


def _read_content(
    question: Question, stored: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str | None]:
    early = stored.get("server_problem") or _early_problem(stored)
    if early:
        return None, early
    try:
        content = parse_strictly(stored["content"])
    except ValueError:
        return None, "unparsable"
    fits = _validator(orjson.dumps(question.schema))(content)
    return (content, None) if fits else (None, "wrong_schema")


def parse_strictly(text: str) -> Any:
    """The JSON that an answer is: bare, or in the only fence of the text; a thought may precede it.

    Nothing is guessed: JSON in the middle of a sentence, cut off or mended does not count, nor does
    half of a surrogate pair, which could not be stored. Raises ValueError.
    """
    text = _THOUGHT.sub("", text)
    fenced = _FENCED.match(text)
    return orjson.loads(fenced[1] if fenced else text)


@lru_cache(maxsize=32)
def _validator(schema: bytes) -> Callable[[Any], bool]:
    """Whether a value fits; compiled, because every answer is checked."""
    import fastjsonschema

    validate = fastjsonschema.compile(orjson.loads(schema), use_default=False)

    def fits(value: Any) -> bool:
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException:
            return False
        return True

    return fits


def _early_problem(stored: Mapping[str, Any]) -> str | None:
    if stored["refusal"] or stored["finish_reason"] == "content_filter":
        return "refused"
    if stored["finish_reason"] == "length":
        return "cut_off"
    return None if stored["content"] else "empty"


def repair(question: Question, answer: Answer) -> Question:
    """The question again, after an answer that could not be used."""
    said = {"role": "assistant", "content": answer.raw or ""}
    wish = {
        "role": "user",
        "content": f"That answer was {answer.problem}. Answer again with JSON alone that fits the "
        f"schema {question.schema_name!r}.",
    }
    return replace(question, messages=(*question.messages, said, wish), is_repair=True)


def most_tokens(question: Question, body: bytes) -> tuple[int, int]:
    """The most tokens of prompt and answer: a token is at least a byte of what is sent."""
    return len(body), question.max_tokens


def likely_tokens(question: Question) -> tuple[int, int]:
    """The tokens of prompt and answer to expect at most: four characters of English each."""
    chars = sum(len(message["content"]) for message in question.messages)
    return -(-chars // CHARS_PER_TOKEN), question.max_tokens
