"""A question to the teacher, its answer, and what stands between: rendering, reading, bounding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.teacher_config import TeacherConfig

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
    except ValueError:
        return None, "unparsable"
    if not Draft202012Validator(dict(question.schema)).is_valid(content):
        return None, "wrong_schema"
    return content, None


def _early_problem(stored: Mapping[str, Any]) -> str | None:
    if stored["refusal"] or stored["finish_reason"] == "content_filter":
        return "refused"
    if stored["finish_reason"] == "length":
        return "cut_off"
    return None if stored["content"] else "empty"


def upper_bound(question: Question, config: TeacherConfig) -> float:
    """The most a request can cost: a token is at least a byte, an answer at most max_tokens."""
    prompt_bytes = sum(len(m["content"].encode()) + _TOKENS_PER_MESSAGE for m in question.messages)
    schema_bytes = len(json.dumps(dict(question.schema)))
    return config.cost(prompt_bytes + schema_bytes, question.max_tokens)


def server_problem(problem: str) -> dict[str, Any]:
    """A raw answer that never came, with the reason; it is not stored."""
    return {
        "server_problem": problem,
        "content": None,
        "refusal": None,
        "finish_reason": None,
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }
