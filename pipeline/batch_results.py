"""What a finished batch says of each of its requests: the lines of its output and error files.

A line is {"custom_id", "response": {"status_code", "body"}, "error": {"code", "message"}}; the
order is any, and what was not worked on in time is in neither file or in the error file, with the
code `batch_expired` (or `batch_cancelled`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.completion import LostError, read_completion

RETRIED_STATUS = {408, 409, 425, 429}


@dataclass
class Results:
    """By request: raw answers, what the server refuses for good, and what may be asked again."""

    answered: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)  # problem and words
    failed: dict[str, str] = field(default_factory=dict)  # problem
    lost: set[str] = field(default_factory=set)  # of the failed: may have been worked on and billed
    account_is_empty: bool = False


def read_results(
    lines: Iterable[bytes], most_of: Mapping[str, tuple[int, int]], status: str = "completed"
) -> Results:
    """Sort the lines of both files by request; `most_of` are the bounds of tokens by request.

    The first line of a request counts; lines that are no JSON, or of no request of this batch, do
    not. A request without a line failed; a batch whose `status` says that it was cut short did not
    work on it, unless a line cannot be read.
    """
    results = Results()
    seen: set[str] = set()
    unreadable = False
    for line in lines:
        name, response, error = _parts(line)
        unreadable = unreadable or not name
        if name in seen or name not in most_of:
            continue
        seen.add(name)
        _sort_in(results, name, response, error, most_of[name])
    left_out = most_of.keys() - seen
    cut_short = status in {"expired", "cancelled"}
    results.failed.update(
        dict.fromkeys(left_out, f"batch_{status}" if cut_short else "batch_left_out")
    )
    if unreadable or not cut_short:
        results.lost.update(left_out)
    return results


def _parts(line: bytes) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    try:
        said = json.loads(line)  # not orjson: half of a surrogate pair must not lose the line
        return str(said["custom_id"]), said.get("response") or {}, said.get("error") or {}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "", {}, {}


def _sort_in(
    results: Results, name: str, response: Mapping[str, Any], error: Mapping[str, Any],
    most: tuple[int, int],
) -> None:  # fmt: skip
    status = response.get("status_code")
    words = json.dumps(response.get("body") or error)
    if status == 402 or (status == 429 and "insufficient_quota" in words):
        results.account_is_empty = True
        results.failed[name] = "account_empty"
    elif status == 200:
        try:
            body = json.dumps(response.get("body")).encode()
            results.answered[name] = read_completion(body, most, batched=True)
        except LostError as problem:
            results.failed[name] = str(problem)
            results.lost.add(name)
    elif isinstance(status, int) and 400 <= status < 500 and status not in RETRIED_STATUS:
        results.refused[name] = (f"refused_by_server_{status}", words)
    elif status is not None:
        results.failed[name] = "rate_limited" if status == 429 else "server_error"
    else:
        results.failed[name] = str(error.get("code") or "server_error")
