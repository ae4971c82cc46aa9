"""What a finished batch says of each of its requests: the lines of its output and error files.

A line is {"custom_id", "response": {"status_code", "body"}, "error": {"code", "message"}}; the
order is any, and what was not worked on in time is in neither file or in the error file, with the
code `batch_expired`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.completion import LostError, read_completion

RETRIED_STATUS = {408, 409, 425, 429}


@dataclass
class Results:
    """By request: raw answers, what the server refuses for good, and what may be asked again."""

    answered: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)  # problem and words
    failed: dict[str, str] = field(default_factory=dict)  # problem
    lost: set[str] = field(default_factory=set)  # of the failed: may have been worked on and billed


def read_results(lines: Iterable[bytes], most_of: Mapping[str, tuple[int, int]]) -> Results:
    """Sort the lines of both files by request; `most_of` are the bounds of tokens by request.

    The first line of a request counts; lines that are no JSON, or of no request of this batch, do
    not. A request without a line failed.
    """
    results = Results()
    seen: set[str] = set()
    for line in lines:
        name, response, error = _parts(line)
        if name in seen or name not in most_of:
            continue
        seen.add(name)
        _sort_in(results, name, response, error, most_of[name])
    left_out = most_of.keys() - seen
    results.failed.update(dict.fromkeys(left_out, "batch_left_out"))
    results.lost.update(left_out)
    return results


def _parts(line: bytes) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    try:
        said = orjson.loads(line)
        return str(said["custom_id"]), said.get("response") or {}, said.get("error") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", {}, {}


def _sort_in(
    results: Results, name: str, response: Mapping[str, Any], error: Mapping[str, Any],
    most: tuple[int, int],
) -> None:  # fmt: skip
    status = response.get("status_code")
    if status == 200:
        try:
            body = orjson.dumps(response.get("body"))
            results.answered[name] = read_completion(body, most, batched=True)
        except LostError as problem:
            results.failed[name] = str(problem)
            results.lost.add(name)
    elif isinstance(status, int) and 400 <= status < 500 and status not in RETRIED_STATUS:
        words = orjson.dumps(response.get("body") or error).decode()
        results.refused[name] = (f"refused_by_server_{status}", words)
    elif status is not None:
        results.failed[name] = "rate_limited" if status == 429 else "server_error"
    else:
        results.failed[name] = str(error.get("code") or "server_error")
