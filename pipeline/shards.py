"""Run one piece of work over all shards with datatrove: its executors, its sharding, its memory.

A shard's work keeps Arrow record batches from read to write, so datatrove's per-document Python
cost is never paid; what datatrove brings is the executor (local here, Ray and Slurm alike) and
the skipping of ranks that are done. It remembers a rank by number only, so its `logging_dir` lies
in the scratch directory of a fingerprinted stage. A killed rank is done again from its start, and
writes the same file names: no rows twice, none lost.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.stage import Workplace


class ShardWork(Protocol):
    """The work on one shard: picklable, writes its own files, returns its account."""

    def __call__(self, rank: int, world_size: int) -> Ledger: ...


def run_shards(
    place: Workplace, what: str, work: ShardWork, unit: str, tasks: int, workers: int
) -> Ledger:
    """Run `work` once for each rank below `tasks`, and return the sum of the ledgers.

    `what` names this pass within the stage. Raises StageError where a rank left no account.
    """
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.base import PipelineStep

    home = place.scratch / what
    accounts = home / "ledgers"
    accounts.mkdir(parents=True, exist_ok=True)

    class Shard(PipelineStep):  # type: ignore[misc]  # datatrove has no types
        type, name = "PRIMER", f"{place.stage}: {what}"

        def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
            account = work(rank, world_size)
            (accounts / f"{rank:05}.json").write_text(json.dumps(asdict(account)))
            yield from ()

    class Executor(LocalPipelineExecutor):  # type: ignore[misc]
        def _launch_run_for_rank(self, *arguments: Any, **options: Any) -> Any:
            _silence_datatrove()
            return super()._launch_run_for_rank(*arguments, **options)

    _silence_datatrove()
    _leave_no_child_behind()
    executor = Executor(
        pipeline=[Shard()], tasks=tasks, workers=workers, logging_dir=str(home / "datatrove")
    )
    with place.bar(what, tasks) as advance, _watched(home / "datatrove" / "completions", advance):
        executor.run()
    parts = [Ledger.from_json(json.loads(p.read_text())) for p in sorted(accounts.iterdir())]
    if len(parts) != tasks:
        raise StageError(
            place.stage,
            f"{tasks - len(parts)} of {tasks} shards left no account in pass {what!r}",
            "run the same command again: finished shards are kept",
        )
    return Ledger.total(unit, parts)


def _silence_datatrove() -> None:
    """Our own log line and bar say it shorter. In a forked worker too, so it is imported here."""
    from datatrove.utils.logging import logger

    logger.disable("datatrove")


@functools.cache
def _leave_no_child_behind() -> None:
    """What is forked from here ends with us, even by SIGKILL: datatrove's manager would stay."""
    if sys.platform == "linux":
        libc, parent_death_signal = ctypes.CDLL(None), 1
        os.register_at_fork(after_in_child=lambda: libc.prctl(parent_death_signal, signal.SIGKILL))


class _watched:  # noqa: N801  # reads as a verb where it is used
    """Move a progress bar as datatrove marks ranks complete."""

    def __init__(self, completions: Path, advance: Any) -> None:
        self.completions, self.advance, self.stop = completions, advance, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        seen = 0
        while not self.stop.wait(0.2):
            done = len(list(self.completions.glob("*"))) if self.completions.exists() else 0
            self.advance(done - seen)
            seen = done

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
