"""The lean way of one request to an endpoint: bytes out, bytes back, and what can go wrong.

The openai package takes several milliseconds of CPU for a request, most of it on types that this
path does not use; aiohttp takes a tenth of that (docs/benchmarks.md). The package serves what is
cold: the Batch API (`pipeline.batch_api`).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.answers import Answers
from pipeline.completion import LostError
from pipeline.environment import proxy_for, secret
from pipeline.errors import InputError, StoppedError
from pipeline.teacher_config import TeacherConfig

if TYPE_CHECKING:
    from aiohttp import ClientSession

_PUSHED_BACK = {429, 503, 529}
_REFUSED_KEY = {401, 403}
_OTHER_TIME = {408, 409, 425}
_LONGEST_WAIT_SECONDS = 3_600.0  # then it is asked again, whatever it said
_LOOK_SECONDS = 10.0  # for the list of models


class BusyError(Exception):
    """Not now: the server says so, or nothing listens. Nothing is billed."""

    def __init__(
        self, problem: str, pushed_back: bool = False, wait_seconds: float | None = None,
        is_away: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(problem)
        self.pushed_back, self.wait_seconds = pushed_back, wait_seconds
        self.is_away = is_away or pushed_back  # it says nothing of this very request


class RejectedError(Exception):
    """This request, never: the server's reason and its words."""


class Transport:
    """The open connections to one endpoint."""

    def __init__(
        self, stage: str, config: TeacherConfig, base_url: str, session: ClientSession
    ) -> None:
        self.stage, self.config, self.base_url = stage, config, base_url
        self._session = session
        self.key = _read_key(stage, config)
        self._seen = _seen(self.key) if self.key else None
        self._headers = {"Content-Type": "application/json"}
        if self.key:
            self._headers["Authorization"] = f"Bearer {self.key}"

    async def post(self, body: bytes) -> bytes:
        """The body of the answer to a chat completion.

        Raises BusyError, RejectedError, LostError; InputError where the key or the model is wrong,
        StoppedError where the account is empty.
        """
        import aiohttp

        try:
            async with self._session.post(
                f"{self.base_url}/chat/completions", data=body, headers=self._headers
            ) as response:
                said = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            problem = f"unreachable: {self.scrub(str(error))}"
            raise BusyError(problem, is_away=True) from None
        except TimeoutError:
            raise LostError("timed_out") from None
        except aiohttp.ClientError:
            raise LostError("connection_lost") from None
        if response.status == 200:
            # some gateways repeat what they were sent, and answers end in the labels
            return self._seen.sub(b"[key]", said) if self._seen else said
        raise self._error_of(response.status, response.headers, said)

    def scrub(self, words: str) -> str:
        """The words without the key."""
        return self._seen.sub(b"[key]", words.encode()).decode() if self._seen else words

    def _error_of(self, status: int, headers: Mapping[str, str], said: bytes) -> Exception:
        words = self.scrub(said.decode("utf-8", "replace"))
        if status in _REFUSED_KEY:
            return InputError(
                self.stage,
                f"the teacher at {self.base_url} refuses the key ({status})",
                f"check the environment variable {self.config.key_variable!r}",
            )
        if status == 404:
            return InputError(
                self.stage,
                f"the teacher at {self.base_url} does not know {self.config.model!r}",
                "correct teacher.model or teacher.base_url",
            )
        if status == 402 or (status == 429 and "insufficient_quota" in words):
            return StoppedError(
                self.stage,
                f"the account at {self.base_url} is empty ({status})",
                "fill it; finished answers are kept, the same command goes on from here",
            )
        if status in _PUSHED_BACK or status in _OTHER_TIME or status >= 500:
            problem = "rate_limited" if status == 429 else "server_error"
            return BusyError(problem, status in _PUSHED_BACK, _retry_after(headers))
        return RejectedError(f"refused_by_server_{status}", words[:500])


def _seen(key: str) -> re.Pattern[bytes]:
    """The key as it is, and as JSON (also within JSON) or an address would spell it."""

    def spelt(byte: int) -> bytes:
        plain = re.escape(bytes([byte]))
        if bytes([byte]).isalnum() or byte in b"-._~":
            return plain  # nobody escapes these
        return rb"(?:\\{0,7}%s|(?i:\\{1,7}u00%02x|%%%02x))" % (plain, byte, byte)

    return re.compile(b"".join(map(spelt, key.encode())))


def _read_key(stage: str, config: TeacherConfig) -> str | None:
    """The teacher's key. Raises InputError where the recipe names a variable that is not set."""
    variable = config.key_variable
    key = secret(variable) if variable else None
    if variable and key is None:
        raise InputError(
            stage,
            f"the environment variable {variable!r} (teacher.key_variable) is not set",
            "export the teacher's key under that name",
        )
    if key is not None and not re.fullmatch("[!-~]+", key):
        raise InputError(
            stage,
            f"the environment variable {variable!r} holds more than a key",
            "export the key alone, without spaces or line ends",
        )
    return key


@asynccontextmanager
async def open_transport(
    stage: str, config: TeacherConfig, base_url: str, answers: Answers
) -> AsyncIterator[Transport]:
    """Connections to an endpoint while the block runs; `/v1` is found where it is left out."""
    import aiohttp

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
        timeout=aiohttp.ClientTimeout(total=config.timeout_seconds, sock_connect=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        # found once, because aiohttp would look again at every request; and a proxy of the
        # environment is for others, not for what Primer starts on loopback
        proxy=proxy_for(base_url) if config.base_url is not None else None,
    )
    async with session:
        transport = Transport(stage, config, base_url, session)
        transport.base_url = await _find_v1(transport, session, answers)
        yield transport


async def _find_v1(transport: Transport, session: ClientSession, answers: Answers) -> str:
    """The base URL with its version: as given, or with the `/v1` that the endpoint knows."""
    import aiohttp

    given = transport.base_url.rstrip("/")
    last = urlsplit(given).path.rpartition("/")[2]
    if last[:1] == "v" and last[1:2].isdigit():
        return given
    note = f"base URL of {given}"
    found: Any = answers.noted(note)
    if found is None:
        there = []
        for url in (f"{given}/v1", given):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(
                    f"{url}/models", headers=transport._headers,
                    timeout=aiohttp.ClientTimeout(total=_LOOK_SECONDS),
                ) as response:  # fmt: skip
                    if response.status == 200 and response.content_type == "application/json":
                        answers.note(note, url)
                        return url
                    if response.status not in {200, 404, 405}:  # a page for people is no list
                        there.append(url)
        # else what the protocol's own addresses end with; nothing is noted that is not sure
        return there[0] if there else f"{given}/v1"
    return str(found)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that an endpoint wants to be left alone: a number, or a date (RFC 9110)."""
    told = headers.get("Retry-After", "")
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), _LONGEST_WAIT_SECONDS)
