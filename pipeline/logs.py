"""Log lines that say of which run and stage they are: for people as before, for machines as JSON.

`PRIMER_LOG_FORMAT=json` writes one JSON object a line to standard error: `time` (UTC), `level`,
`logger`, `run`, `stage`, `message`, and what a line gives besides: `counts` of a sealed stage, or
`problem`, `cure` and `traceback` of a failure. Run and stage are context variables, so that a line
of any library, and of any task of asyncio, carries them; threads of a pool do not.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pipeline.environment import log_format
from pipeline.errors import StageError

RUN: ContextVar[str | None] = ContextVar("run", default=None)
STAGE: ContextVar[str | None] = ContextVar("stage", default=None)

_GIVEN = ("counts", "problem", "cure")  # what a line may say besides, by `extra`


def set_up_logging() -> None:
    """Warnings of everybody and all that Primer says, to standard error.

    Plain lines leave a host's own handlers alone; JSON takes their place, so that no line is other.
    """
    handler = logging.StreamHandler(sys.stderr)
    is_json = log_format() == "json"
    handler.setFormatter(JsonLines() if is_json else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=is_json)
    logging.getLogger("primer").setLevel(logging.INFO)
    logging.captureWarnings(is_json)  # a warning that is no object would break the lines


@contextmanager
def logged_as(run: str, stage: str) -> Iterator[None]:
    """Lines from here on are of this run and stage."""
    tokens = RUN.set(run), STAGE.set(stage)
    try:
        yield
    finally:
        RUN.reset(tokens[0])
        STAGE.reset(tokens[1])


def report_failure(error: StageError) -> None:
    """The one line that a person sees, or the same as an object."""
    if log_format() == "json":
        told = {"problem": error.problem, "cure": error.cure}
        with logged_as(RUN.get() or "", error.stage):
            logging.getLogger("primer").error("%s", error, extra=told)
    else:
        print(f"primer: {error}", file=sys.stderr)


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """What was logged, whatever it holds: line breaks and odd values do not break the line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run": RUN.get() or None,
            "stage": STAGE.get(),
            "message": record.getMessage(),
        }
        told |= {name: record.__dict__[name] for name in _GIVEN if name in record.__dict__}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=True, default=str)
