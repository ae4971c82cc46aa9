"""Run one piece of work over all shards, under an engine, with datatrove's memory of what is done.

A shard's work keeps Arrow record batches from read to write, so datatrove's per-document Python
cost is never paid; what datatrove brings is the log and the mark of each rank, the skipping of
ranks that are done, and Slurm's script. It remembers a rank by number only, so its `logging_dir`
lies in the scratch directory of a fingerprinted stage. A killed rank is done again from its start,
and writes the same file names: no rows twice, none lost.
"""

from __future__ import annotations

import threading
from typing import Any

from pipeline.errors import StageError
from pipeline.executors import Executor, LocalExecutor, RayExecutor, SlurmExecutor
from pipeline.ledger import Ledger
from pipeline.shard_pass import ShardPass, ShardWork
from pipeline.stage import Workplace

_HERE = LocalExecutor()


def run_shards(
    place: Workplace,
    what: str,
    work: ShardWork,
    unit: str,
    tasks: int,
    workers: int,
    executor: Executor = _HERE,
) -> Ledger:
    """Run `work` once for each rank below `tasks`, and return the sum of the ledgers.

    `what` names this pass within the stage. Raises StageError where a rank left no account.
    """
    home = (place.scratch / what).resolve()
    shards = ShardPass(place.stage, what, home, work, tasks, workers)
    shards.accounts.mkdir(parents=True, exist_ok=True)
    with place.bar(what, tasks) as advance, _watched(shards, advance):
        _run(shards, executor)
    parts = shards.read_accounts()
    if len(parts) != tasks:
        raise StageError(
            place.stage,
            f"{tasks - len(parts)} of {tasks} shards left no account in pass {what!r}",
            "run the same command again: finished shards are kept",
        )
    return Ledger.total(unit, parts)


def _run(shards: ShardPass, executor: Executor) -> None:
    """Each engine is imported only where it is chosen."""
    from pipeline.shard_step import run_locally, silence_datatrove

    silence_datatrove()
    match executor:
        case LocalExecutor():
            run_locally(shards)
        case RayExecutor():
            from pipeline.ray_executor import run_on_ray

            run_on_ray(shards, executor)
        case SlurmExecutor():
            from pipeline.slurm_executor import run_on_slurm

            run_on_slurm(shards, executor)


class _watched:  # noqa: N801  # reads as a verb where it is used
    """Move a progress bar as datatrove marks ranks complete."""

    def __init__(self, shards: ShardPass, advance: Any) -> None:
        self.shards, self.advance, self.stop = shards, advance, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        seen = 0
        while not self.stop.wait(0.2):
            done = self.shards.done()
            self.advance(done - seen)
            seen = done

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
