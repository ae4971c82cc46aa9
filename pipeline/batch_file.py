"""The files of a batch, one JSON object a line: requests on their way, answers on theirs.

Both are bounded: what is sent is gathered in an unnamed file that vanishes with the process.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.batch_notes import Bounds
from pipeline.dialect import Request
from pipeline.question import likely_tokens, most_tokens
from pipeline.teacher_config import BatchConfig

_LINE = b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}\n'


class BatchFile:
    """The requests that will be one batch."""

    def __init__(self, folder: Path, config: BatchConfig) -> None:
        """The file has no name, but takes its room in `folder`."""
        self._config = config
        self._most_bytes = round(config.max_megabytes * 1e6)
        self.content = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by `close`
        self.clear()

    def close(self) -> None:
        """Close the file, and lose it."""
        self.content.close()

    def clear(self) -> None:
        """Begin anew."""
        self.content.seek(0)
        self.content.truncate()
        self.requests: dict[str, Bounds] = {}
        self.most = (0, 0)  # tokens of all prompts and answers
        # the same requests sent again must be another batch
        self._hash = hashlib.sha256(secrets.token_bytes(16))

    @property
    def name(self) -> str:
        """A salted hash of all that is in the file."""
        return self._hash.hexdigest()

    def fits(self, request: Request) -> bool:
        """Whether there is room for the request, as far as the provider's limits go."""
        size = self.content.tell() + len(_line(request))
        return len(self.requests) < self._config.max_requests and size <= self._most_bytes

    def most_with(self, request: Request) -> tuple[int, int]:
        """The tokens of all prompts and answers at most, were the request added."""
        prompt, completion = most_tokens(request.question, request.body)
        return self.most[0] + prompt, self.most[1] + completion

    def add(self, request: Request) -> None:
        """Append a request."""
        self.most = self.most_with(request)
        most = most_tokens(request.question, request.body)
        self.requests[request.name] = Bounds(most, likely_tokens(request.question))
        line = _line(request)
        self._hash.update(line)
        self.content.write(line)


def _line(request: Request) -> bytes:
    return _LINE % (request.name.encode(), request.body)


@dataclass(frozen=True)
class Line:
    """What became of one request: a response with its status, or an error with its code."""

    request: str
    status: int | None
    body: bytes
    code: str | None


def read_lines(content: bytes, scrub: Callable[[str], str]) -> Iterator[Line | None]:
    """The lines of an output file or an error file; None for one that cannot be read.

    `scrub` takes from the text what nobody may see.
    """
    for line in io.BytesIO(content):
        if line.strip():
            yield _read_line(scrub(line.decode("utf-8", "replace")))


def _read_line(text: str) -> Line | None:
    try:
        said: Any = json.loads(text)
        response, error = said.get("response") or {}, said.get("error") or {}
        status, code = response.get("status_code"), error.get("code")
        return Line(
            request=str(said["custom_id"]),
            status=None if status is None else int(status),
            body=json.dumps(response.get("body") or error).encode(),
            code=None if code is None else str(code),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
