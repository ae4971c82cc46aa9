"""HTML to its main text, in guarded processes: what a page does to its parser costs that page.

Pages go over a pipe in batches, and each answer comes back by itself, so that a process that hangs,
grows or dies names the page that did it: that one gets a reason, the process is replaced, and the
rest of its batch goes on. Results come in the order of the pages whatever the number of workers.

The guard costs little: see docs/extraction.md, which also says what each extractor keeps and
loses, and why the default is what it is.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, TypeVar

from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.errors import InputError
from pipeline.extraction_guard import GuardedProcess

BATCH_PAGES, BATCH_BYTES = 32, 4 << 20
K = TypeVar("K")


class ExtractionConfig(Section):
    """How the main text of HTML pages is found."""

    extractor: Literal["resiliparse", "trafilatura"] = Field(
        "resiliparse", description="docs/extraction.md compares them."
    )
    cpu_limit_s: float = Field(
        10, ge=0.1, le=3_600, description="Processor time for one page (s); see also wall time."
    )
    memory_limit_mib: int = Field(
        1_024, ge=64, le=65_536,
        description="Memory for one page, over what the extractor takes itself (MiB).",
    )  # fmt: skip
    workers: int = Field(
        1, ge=1, le=256, description="Processes that extract at once.", json_schema_extra=HOW
    )


@dataclass(frozen=True, slots=True)
class Extracted:
    """The main text of a page; title and language as the page says them, empty where it does not.

    The language is that of the `lang` attribute, as it stands (`en-US`): a hint.
    """

    text: str
    title: str
    language: str
    extractor: str  # name and version


@dataclass(frozen=True, slots=True)
class NotExtracted:
    """A page without text (`no_text`), or one that its extractor did not survive, and why."""

    reason: str
    evidence: str
    extractor: str

    @property
    def is_failure(self) -> bool:
        """Whether the page could not be judged; else it was, and holds no main text."""
        return self.reason != "no_text"


Result = Extracted | NotExtracted


class Extractors:
    """Running processes that extract; a context manager. Safe to use from one thread."""

    def __init__(self, config: ExtractionConfig) -> None:
        self.config = config
        try:
            self.name = f"{config.extractor} {importlib.metadata.version(config.extractor)}"
        except importlib.metadata.PackageNotFoundError as error:
            raise InputError(
                "extraction",
                f"extractor {config.extractor!r} is not installed",
                f"pip install {config.extractor}, or choose another",
            ) from error
        self._idle: deque[GuardedProcess] = deque()
        self._threads = ThreadPoolExecutor(config.workers, "extraction")
        self.replaced = 0  # processes that a page ended

    def __enter__(self) -> Extractors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def run(self, pages: Iterable[tuple[K, str]]) -> Iterator[tuple[K, Result]]:
        """(key, result) of each (key, HTML), in their order; a few batches are held at once."""
        waiting: deque[tuple[list[K], Future[list[Result]]]] = deque()
        for keys, batch in _batches(pages):
            waiting.append((keys, self._threads.submit(self._extract, batch)))
            if len(waiting) > 2 * self.config.workers:
                yield from _pairs(*waiting.popleft())
        while waiting:
            yield from _pairs(*waiting.popleft())

    def _extract(self, batch: list[bytes]) -> list[Result]:
        """The results of a batch, with as many processes as its pages need."""
        results: list[Result] = []
        while len(results) < len(batch):
            process = self._take()
            for said in process.ask(batch[len(results) :]):
                results.append(self._result(said))
            if process.is_alive:
                self._idle.append(process)
            else:
                self.replaced += 1
        return results

    def _take(self) -> GuardedProcess:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        config = self.config
        return GuardedProcess(config.extractor, config.cpu_limit_s, config.memory_limit_mib)

    def _result(self, said: dict[str, str]) -> Result:
        if "reason" in said:
            return NotExtracted(said["reason"], said["evidence"], self.name)
        text = said["text"].replace("\0", "").strip()
        if not text:
            return NotExtracted("no_text", f"title {said['title'][:80]!r}", self.name)
        return Extracted(text, said["title"][:1_000], said["language"][:40], self.name)


def _pairs(keys: list[K], future: Future[list[Result]]) -> Iterator[tuple[K, Result]]:
    yield from zip(keys, future.result(), strict=True)


def _batches(pages: Iterable[tuple[K, str]]) -> Iterator[tuple[list[K], list[bytes]]]:
    keys: list[K] = []
    batch: list[bytes] = []
    size = 0
    for key, html in pages:
        keys.append(key)
        batch.append(html.encode("utf-8", "replace"))
        size += len(batch[-1])
        if len(batch) >= BATCH_PAGES or size >= BATCH_BYTES:
            yield keys, batch
            keys, batch, size = [], [], 0
    if batch:
        yield keys, batch
