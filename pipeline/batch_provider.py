"""The provider's side of the Batch API, by the openai package: files, batches, and their errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

from pipeline.errors import InputError, StoppedError
from pipeline.teacher_config import TeacherConfig
from pipeline.transport import Transport

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

T = TypeVar("T")

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
FINAL = {"completed", "expired", "cancelled", "failed"}  # statuses after which nothing comes
_SEARCHED = 1_000  # of the account's newest batches, for one whose id was never told
_BREATH_SECONDS = 5.0


class AwayError(Exception):
    """Not now: the network or the provider."""


class UnknownError(Exception):
    """The provider does not know such a batch (any more)."""


class Provider:
    """One account's batches. Raises InputError for what the user can mend, AwayError for later."""

    def __init__(self, transport: Transport, config: TeacherConfig, client: AsyncOpenAI) -> None:
        self.transport, self.config, self.client = transport, config, client

    async def upload(self, digest: str, content: bytes) -> str:
        """Upload a file of requests; returns its id."""
        with self._explained():
            file = (f"primer-{digest[:12]}.jsonl", content)
            return _told(await self.client.files.create(file=file, purpose="batch")).id

    async def create(self, file_id: str, digest: str) -> str:
        """A new batch's id; where the connection broke, it may have been created all the same."""
        # without retries of the package: each would be a batch of its own
        client = self.client.with_options(max_retries=0)
        for _ in range(self.config.max_retries + 1):
            try:
                with self._explained():
                    batch = await client.batches.create(
                        input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h",
                        metadata={"primer": digest},
                    )  # fmt: skip
                    return _told(batch).id
            except AwayError:
                await asyncio.sleep(min(_BREATH_SECONDS, self.config.patience_seconds))
                if found := await self.find(digest):
                    return found
        raise AwayError("it creates no batch")

    async def find(self, digest: str) -> str | None:
        """The id of the batch of this file, among the account's newest."""
        looked_at = 0
        with self._explained():
            async for batch in self.client.batches.list(limit=100):
                if (batch.metadata or {}).get("primer") == digest:
                    return batch.id
                looked_at += 1
                if looked_at == _SEARCHED:
                    break
        return None

    async def look(self, batch_id: str) -> tuple[Batch, list[bytes]]:
        """How far a batch is; when it is done, the lines of its files too. Raises UnknownError."""
        import openai

        lines: list[bytes] = []
        with self._explained():
            try:
                batch = _told(await self.client.batches.retrieve(batch_id))
            except openai.NotFoundError:
                raise UnknownError from None
            if batch.status in FINAL:
                for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
                    lines += (await self._download(file_id)).splitlines()
        return batch, lines

    async def _download(self, file_id: str) -> bytes:
        """A file's content without the key, which some gateways repeat; none where it is gone."""
        import openai

        try:
            content = (await self.client.files.content(file_id)).content
        except openai.NotFoundError:  # deleted: whatever was in it is left out
            return b""
        return self.transport.scrub(content.decode("utf-8", "replace")).encode()

    def stopped(self, why: str) -> StoppedError:
        """What to raise when it has been away for too long."""
        return StoppedError(
            self.transport.stage,
            f"the Batch API at {self.transport.base_url} is away ({why})",
            "batches that were sent go on there; the same command takes them up again",
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What the user can mend, in one line and without the key."""
        import openai

        stage, base_url = self.transport.stage, self.transport.base_url
        try:
            yield
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise InputError(
                stage,
                f"the teacher at {base_url} refuses the key ({error.status_code})",
                f"check the environment variable {self.config.key_variable!r}",
            ) from None
        except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as e:
            raise AwayError(type(e).__name__) from None
        except openai.APIStatusError as error:
            words = self.transport.scrub(error.message)[:200]
            raise InputError(
                stage,
                f"the teacher at {base_url} takes no batches ({error.status_code}: {words})",
                "set teacher.batch to null to ask at once",
            ) from None


def _told(what: T) -> T:
    """What the package read. Raises AwayError for the page of a proxy, which it takes for text."""
    if not getattr(what, "id", None):
        raise AwayError("malformed_response")
    return what


@asynccontextmanager
async def open_provider(transport: Transport, config: TeacherConfig) -> AsyncIterator[Provider]:
    """The provider for as long as the block runs."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=transport.base_url,
        api_key=transport.key or "none",
        timeout=config.timeout_seconds,
        max_retries=config.max_retries,
    ) as client:
        yield Provider(transport, config, client)
