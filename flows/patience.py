"""Which failures pass by themselves: the network, a teacher or a store that is away or busy.

A stage is tried again for these only. What the user gave wrongly, a cap, a person's stop, a full
disk or a bug would fail again, and its message would come later. It is decided by the types of the
exception and of those that led to it, by name, because a library that was never imported cannot
have raised one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows.schedule import FlowSchedule
from pipeline.errors import InputError, StoppedError

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

ONE_TRY = FlowSchedule(retries=0)

_AWAY = "pipeline.pace.DownError"  # the teacher, for longer than it is waited for
_LIMIT = "prefect.task_engine.TaskRunTimeoutError"  # of our own, and no trouble of the network
_PASSING = {
    "builtins.ConnectionError",
    "builtins.TimeoutError",
    "aiohttp.client_exceptions.ClientConnectionError",
    "aiohttp.client_exceptions.ClientPayloadError",
    "aiohttp.http_exceptions.TransferEncodingError",
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "http.client.RemoteDisconnected",
    "httpx.TransportError",
    "openai.APIConnectionError",
    "openai.InternalServerError",
    "openai.RateLimitError",
    "pipeline.transport.BusyError",
    _AWAY,
    "urllib3.exceptions.ProtocolError",
    "urllib3.exceptions.TimeoutError",
}
_PASSING_NUMBERS = {
    errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ESTALE,
}  # fmt: skip
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504, 529}


def passes(error: BaseException | None) -> bool:
    """Whether the same work may succeed later, with nothing changed by anyone."""
    if error is None or isinstance(error, InputError) or _name(type(error)) == _LIMIT:
        return False
    chain = list(_led_to(error))
    if isinstance(error, StoppedError):  # a cap, a person, or a teacher that stayed away
        return any(_name(type(one)) == _AWAY for one in chain)
    return any(_passes_alone(one) for one in chain)


def may_try_again(_: Task[Any, Any], __: TaskRun, state: State[Any]) -> bool:
    """`passes`, as Prefect asks it of the state of a task that has failed."""
    error = state.data
    return passes(error if isinstance(error, BaseException) else None)


def _led_to(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from or while handling, the newest first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _passes_alone(error: BaseException) -> bool:
    if any(_name(kind) in _PASSING for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_NUMBERS:
        return True
    return _status(error) in _PASSING_STATUS


def _status(error: BaseException) -> int | None:
    """The HTTP status that a library's error carries, each in its own place."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status", None) or getattr(response, "status_code", None)
    return found if isinstance(found, int) else None


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
