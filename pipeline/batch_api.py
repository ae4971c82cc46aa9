"""The Batch API: files of requests at half the price, answered within a day (OpenAI's protocol).

What a batch is about stands in the answers' database before anything is sent, the ids of its file
and of itself as soon as they are known, and the note goes when all of its answers are stored. So a
run that was killed at any moment finds its batches again, if need be among all batches of the
account by the hash of their file, and sends nothing that one of them holds.

A pass sends what is missing and waits for all of it; what failed is missing in the next pass.
Stopping Primer stops no batch: it goes on at the provider, and the next run takes it up.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import orjson

from pipeline.batch_notes import Sent, batches_out, name_teacher
from pipeline.batch_provider import (
    ENDPOINT,
    FINAL,
    AwayError,
    Provider,
    UnknownError,
    open_provider,
)
from pipeline.batch_results import Results, read_results
from pipeline.completion import server_problem, usage_of
from pipeline.dialect import Request
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.purse import CapReachedError
from pipeline.question import likely_tokens, most_tokens
from pipeline.sender import Sender
from pipeline.teacher_config import BatchConfig

if TYPE_CHECKING:
    from openai.types import Batch

_QUEUE_IS_FULL = "token_limit_exceeded"  # OpenAI's code: too many tokens of the account's wait
_FORGOTTEN_SECONDS = 2 * 86_400.0  # twice a batch's window: nothing comes of it any more
_PATIENCE = 10  # times patience_seconds: nobody waits for a batch, and networks come back


async def ask_in_batches(
    sender: Sender, config: BatchConfig, missing: Iterable[Request], tries: Counter[str],
    advance: Callable[..., None],
) -> bool:  # fmt: skip
    """One pass over what is missing; whether anything was asked, so that another pass is due.

    `tries` counts failures by request, over all passes: one that has failed too often is given up.
    Raises CapReachedError, InputError (no Batch API there), StageError (the provider refuses a
    file), StoppedError (a batch was cancelled, or the endpoint is away for long).
    """
    sender.purse.settle()  # from here on the notes tell what is in flight
    async with open_provider(sender.transport, sender.config) as provider:
        desk = _Desk(sender, config, provider, tries, advance)
        try:
            return await desk.run(iter(missing))
        except AwayError as error:
            raise provider.stopped(str(error)) from None


class _Desk:
    """One pass, with the batches that are out."""

    def __init__(
        self, sender: Sender, config: BatchConfig, provider: Provider, tries: Counter[str],
        advance: Callable[..., None],
    ) -> None:  # fmt: skip
        self.sender, self.config, self.provider = sender, config, provider
        self.tries, self.advance = tries, advance
        self.out: list[Sent] = []
        self.names: set[str] = set()  # of the requests of this pass
        self._kept: Request | None = None  # what the last file had no room or money for
        self._seen_at = time.monotonic()

    async def run(self, missing: Iterator[Request]) -> bool:
        """Send all that is missing, wait for it and for what was out before."""
        for sent in batches_out(self.sender):
            await self._take_up(sent)
        while True:
            # once money is short, all must be settled first, or ever smaller files would follow
            while (self._kept is None or not self.out) and (file := self._gather(missing)):
                await self._submit(*file)
            if not self.out:
                break
            await asyncio.sleep(self.config.poll_seconds)
            for sent in list(self.out):
                await self._look_at(sent)
        if self._kept:
            raise CapReachedError
        return bool(self.names)

    def _gather(self, missing: Iterator[Request]) -> tuple[Sent, bytes] | None:
        """The next file, as large as its limits and the cap allow; None where nothing is left."""
        config, most_bytes = self.sender.config, self.config.max_megabytes * 1e6
        lines: list[bytes] = []
        sent, size = Sent(name_teacher(self.sender), "", [], 0.0), 0
        while len(lines) < self.config.max_requests:
            request, self._kept = self._kept or next(missing, None), None
            if request is None:
                break
            if request.name in self.names:
                continue
            line, most = _line(request), most_tokens(request.question, request.body)
            cost = config.cost(*most, batched=True)
            too_large = lines and size + len(line) > most_bytes
            if too_large or not self.sender.purse.affords(sent.most_cost + cost):
                self._kept = request
                break
            likely = likely_tokens(request.question)
            sent.requests.append((request.name, *most, likely[0]))
            sent.most_cost += cost
            self.names.add(request.name)
            lines.append(line)
            size += len(line)
        content = b"".join(lines)
        sent.digest = hashlib.sha256(secrets.token_bytes(16) + content).hexdigest()
        return (sent, content) if lines else None

    async def _submit(self, sent: Sent, content: bytes) -> None:
        """Note, upload, note, create, note: a killed run knows how far it came."""
        self.sender.purse.hold(sent.most_cost, written=False)
        sent.noted_at = time.time()
        sent.note(self.sender)
        try:
            sent.file_id = await self.provider.upload(sent.digest, content)
            sent.note(self.sender)
            sent.batch_id = await self.provider.create(sent.file_id, sent.digest)
        except InputError:  # refused: there is no such batch
            sent.forget(self.sender)
            raise
        sent.note(self.sender)
        self.out.append(sent)

    async def _take_up(self, sent: Sent) -> None:
        """Go on with a batch of an earlier run, or forget what never became one."""
        if sent.batch_id is None and sent.file_id is not None:
            sent.batch_id = await self.provider.find(sent.digest)
        if sent.batch_id is None:
            sent.forget(self.sender)
            return
        sent.told = 0
        self.sender.purse.hold(sent.most_cost, written=False)
        self.names.update(name for name, *_ in sent.requests)
        self.out.append(sent)

    async def _look_at(self, sent: Sent) -> None:
        """Ask how far a batch is, and settle it when it is done."""
        assert sent.batch_id is not None
        try:
            batch, lines = await self.provider.look(sent.batch_id)
        except UnknownError:
            self._lose(sent)
            return
        except AwayError as error:
            away_seconds = time.monotonic() - self._seen_at
            if away_seconds > _PATIENCE * self.sender.config.patience_seconds:
                raise AwayError(f"not seen for {away_seconds:.0f} s: {error}") from None
            return
        self._seen_at = time.monotonic()
        if batch.status == "failed":  # nothing of it was worked on, nothing is billed
            self._drop(sent)
            self._complain(batch)
        elif batch.status in FINAL:
            is_empty = self._settle(sent, batch.status, lines)
            self._complain(batch)
            if is_empty:
                raise self._account_is_empty()
        elif batch.request_counts:
            self._tell(sent, batch.request_counts.completed)

    def _lose(self, sent: Sent) -> None:
        """The provider does not know it: after a while, what it cost at most counts as lost."""
        if time.time() - sent.noted_at < _FORGOTTEN_SECONDS:
            raise InputError(
                self.sender.transport.stage,
                f"the provider does not know the batch {sent.batch_id}",
                "give the key of the account that it was sent with; from two days after it was "
                "sent on, its requests are sent again",
            )
        self.sender.purse.hold(sent.most_cost, written=False)
        self.sender.purse.release(sent.most_cost, lost=True)
        self._drop(sent)

    def _drop(self, sent: Sent) -> None:
        self.sender.purse.release(sent.most_cost)
        sent.forget(self.sender)
        self.out.remove(sent)

    def _settle(self, sent: Sent, status: str, lines: list[bytes]) -> bool:
        """Store the answers, pay for them, then forget the batch; whether the account is empty."""
        purse, answers = self.sender.purse, self.sender.answers
        bounds = {name: (prompt, answer) for name, prompt, answer, _ in sent.requests}
        results = read_results(lines, bounds, status)
        answers.put_all(results.answered.items())
        for name, _, most_answer, likely in sent.requests:
            if name in results.answered:
                usage = usage_of(results.answered[name])
                purse.pay(name, usage, (likely, most_answer), cached=False)
        for name in results.lost:
            cost = self.sender.config.cost(*bounds[name], batched=True)
            purse.hold(cost, written=False)
            purse.release(cost, lost=True)
        self._tell(sent, len(results.answered) + self._give_up(results))
        self._drop(sent)
        return results.account_is_empty

    def _give_up(self, results: Results) -> int:
        """Give up what is refused, or has failed too often; returns how many."""
        given_up = self.sender.given_up
        before = len(given_up)
        for name, (problem, words) in results.refused.items():
            given_up[name] = server_problem(problem, self.sender.transport.scrub(words)[:500])
        for name, problem in results.failed.items():
            self.tries[name] += 1
            if self.tries[name] > self.sender.config.max_retries:
                given_up[name] = server_problem(problem)
        return len(given_up) - before

    def _complain(self, batch: Batch) -> None:
        """A batch that was stopped, or refused as a whole, stops the run; what it had is stored."""
        stage = self.sender.transport.stage
        if batch.status == "cancelled":
            raise StoppedError(
                stage,
                f"the batch {batch.id} was cancelled at the provider",
                "finished answers are kept; the same command sends the rest again",
            )
        if batch.status == "failed":
            errors = (batch.errors and batch.errors.data) or []
            words = "; ".join(error.message or error.code or "" for error in errors)
            if any(error.code == _QUEUE_IS_FULL for error in errors) and self.out:
                return  # its requests are missing in the next pass, when there is room
            raise StageError(
                stage,
                f"the provider refuses the batch {batch.id} ({self.sender.transport.scrub(words)})",
                "correct teacher, or lower teacher.batch.max_requests where its limit is reached",
            )

    def _account_is_empty(self) -> StoppedError:
        return StoppedError(
            self.sender.transport.stage,
            f"the account at {self.sender.transport.base_url} is empty",
            "fill it; finished answers are kept, the same command goes on from here",
        )

    def _tell(self, sent: Sent, finished: int) -> None:
        spent = self.sender.purse.spend
        self.advance(finished - sent.told, note=f"{spent.cost:.4f} {spent.currency}")
        sent.told = finished


def _line(request: Request) -> bytes:
    """A line of the file; the body is the very bytes that its name is the hash of."""
    head = orjson.dumps({"custom_id": request.name, "method": "POST", "url": ENDPOINT})
    return head[:-1] + b',"body":' + request.body + b"}\n"
