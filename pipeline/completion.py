"""A chat completion as the server sent it: what of it is stored, and what it was billed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

_MOST_TOKENS = 1e9  # no answer has more: a count above it cannot be true


class LostError(Exception):
    """A request left and no answer came back; it may be billed."""


class Usage(NamedTuple):
    """What one answer is billed; reasoning tokens are a part of the completion's."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    batched: bool


def read_completion(body: bytes, most: tuple[int, int], batched: bool = False) -> dict[str, Any]:
    """The raw answer in a response's body, as it is stored.

    Token counts that are missing, or that cannot be true, are taken as the bound `most` (of prompt
    and completion). Raises LostError where the body is no chat completion: it was made, and may be
    billed.
    """
    try:
        completion = _parse(body)
        choice = (completion["choices"] or [{}])[0]
        message = choice.get("message") or {}
        content, refusal = _text(message.get("content")), _text(message.get("refusal"))
        usage = _usage(completion.get("usage"), most, bool(content or refusal))
        return {
            "content": content,
            "refusal": refusal,
            "finish_reason": _text(choice.get("finish_reason")),
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "reasoning_tokens": usage[2],
            "batched": batched,
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise LostError("malformed_response") from error


def usage_of(stored: Mapping[str, Any]) -> Usage:
    """What a stored answer was billed."""
    return Usage(
        stored["prompt_tokens"], stored["completion_tokens"],
        stored["reasoning_tokens"], stored["batched"],
    )  # fmt: skip


def server_problem(problem: str, words: str | None = None) -> dict[str, Any]:
    """An answer that never came, with the reason and the server's words; it is not stored."""
    return {
        "server_problem": problem,
        "content": words,
        "refusal": None,
        "finish_reason": None,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "reasoning_tokens": 0,
        "batched": False,
    }


def _usage(told: Any, most: tuple[int, int], has_said: bool) -> tuple[int, int, int]:
    """Tokens of prompt, completion and reasoning.

    Some servers leave reasoning out of `completion_tokens`, and only the total tells, or that there
    is more of it than of the whole.
    """
    prompt = _count(told, "prompt_tokens")
    completion = _count(told, "completion_tokens")
    details = told.get("completion_tokens_details") if isinstance(told, dict) else None
    reasoning = _count(details, "reasoning_tokens") or 0
    if not prompt:
        prompt = most[0]
    if completion is None or (completion == 0 and has_said):
        completion = most[1]
    total = _count(told, "total_tokens") or 0
    if reasoning > completion:
        completion += reasoning
    return prompt, max(completion, total - prompt), reasoning


def _count(told: Any, name: str) -> int | None:
    """A count that can be true, or None."""
    value: Any = told.get(name) if isinstance(told, dict) else None
    try:
        count = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return math.ceil(count) if 0 <= count <= _MOST_TOKENS else None


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:  # more is JSON to Python, such as half a surrogate pair
        return json.loads(body)


def _text(value: Any) -> str | None:
    """The value; half a surrogate pair, which can be neither sent nor stored, becomes `?`."""
    if value is None or isinstance(value, str):
        return value and value.encode("utf-8", "replace").decode()
    raise TypeError("an answer must be text")
