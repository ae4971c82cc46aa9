"""A question to the teacher, its answer, and what stands between: rendering, reading, repairing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.purse import LostError

_TOKENS_PER_MESSAGE = 16  # role and separators, from above; chat formats take 3 to 7


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


@dataclass(frozen=True)
class Answer:
    """One answer: `content` that fits the schema, or the `problem` that it has."""

    key: str
    content: dict[str, Any] | None
    problem: str | None
    raw: str | None
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    cached: bool


def render(question: Question, model: str) -> dict[str, Any]:
    """The request as it is sent, and as it is hashed."""
    request: dict[str, Any] = {
        "model": model,
        "messages": list(question.messages),
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": question.schema_name,
                "schema": dict(question.schema),
                "strict": True,
            },
        },
    }
    if question.seed is not None:
        request["seed"] = question.seed
    return request


def read_answer(question: Question, stored: Mapping[str, Any], cached: bool) -> Answer:
    """What a raw answer says, or what is wrong with it."""
    content, problem = _read_content(question, stored)
    return Answer(
        key=question.key,
        content=content,
        problem=problem,
        raw=stored["content"],
        finish_reason=stored["finish_reason"],
        prompt_tokens=stored["prompt_tokens"],
        completion_tokens=stored["completion_tokens"],
        cached=cached,
    )


def _read_content(
    question: Question, stored: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str | None]:
    from jsonschema import Draft202012Validator

    early = stored.get("server_problem") or _early_problem(stored)
    if early:
        return None, early
    try:
        content = json.loads(stored["content"])
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair cannot be stored
        fits = Draft202012Validator(dict(question.schema)).is_valid(content)
    except (ValueError, RecursionError):
        return None, "unparsable"
    return (content, None) if fits else (None, "wrong_schema")


def _early_problem(stored: Mapping[str, Any]) -> str | None:
    if stored["refusal"] or stored["finish_reason"] == "content_filter":
        return "refused"
    if stored["finish_reason"] == "length":
        return "cut_off"
    return None if stored["content"] else "empty"


def read_completion(body: str, most: tuple[int, int]) -> dict[str, Any]:
    """The raw answer in a response's body; tokens are the bound `most` where usage is not told.

    Raises LostError where the body is no chat completion: it was made, and may be billed.
    """
    try:
        completion = json.loads(body)
        choice = (completion["choices"] or [{}])[0]
        message = choice.get("message") or {}
        usage = completion.get("usage") or {}
        return {
            "content": _text(message.get("content")),
            "refusal": _text(message.get("refusal")),
            "finish_reason": _text(choice.get("finish_reason")),
            "prompt_tokens": int(usage.get("prompt_tokens", most[0])),
            "completion_tokens": int(usage.get("completion_tokens", most[1])),
        }
    except (
        ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise LostError("malformed_response") from error


def _text(value: Any) -> str | None:
    """The value; half a surrogate pair, which can be neither sent nor stored, becomes `?`."""
    if value is None or isinstance(value, str):
        return value and value.encode("utf-8", "replace").decode()
    raise TypeError("an answer must be text")


def repair(question: Question, answer: Answer) -> Question:
    """The question again, after an answer that could not be used."""
    said = {"role": "assistant", "content": answer.raw or ""}
    wish = {
        "role": "user",
        "content": f"That answer was {answer.problem}. Answer again with JSON alone that fits the "
        f"schema {question.schema_name!r}.",
    }
    return replace(question, messages=(*question.messages, said, wish))


def most_tokens(question: Question) -> tuple[int, int]:
    """The most tokens of prompt and answer: a token is at least a byte."""
    prompt = sum(len(m["content"].encode()) + _TOKENS_PER_MESSAGE for m in question.messages)
    return prompt + len(json.dumps(dict(question.schema))), question.max_tokens


def server_problem(problem: str, words: str | None = None) -> dict[str, Any]:
    """An answer that never came, with the reason and the server's words; it is not stored."""
    return {
        "server_problem": problem,
        "content": words,
        "refusal": None,
        "finish_reason": None,
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }
