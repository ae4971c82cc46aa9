"""The datatrove step that does one shard's work, and the processes of this machine that run it.

Importing this module imports datatrove: only a pass that runs does. The step lies at module level
because Ray's tasks and Slurm's jobs unpickle it by name, from the Primer installed where they run.
"""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from pipeline.errors import StageError
from pipeline.shard_pass import ShardPass


class ShardStep(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """Do a rank's work and leave its account; no documents flow through datatrove."""

    type = "PRIMER"

    def __init__(self, shards: ShardPass) -> None:
        self.name = f"{shards.stage}: {shards.what}"
        super().__init__()
        self.shards = shards
        self.directory = Path.cwd()  # what relative paths of a recipe start from

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Raises StageError on a machine that does not see the run."""
        accounts = self.shards.accounts
        if not accounts.is_dir():
            raise StageError(
                self.shards.stage,
                f"the machine {platform.node()} does not see {accounts}",
                "keep the run in a directory that all machines share under the same path",
            )
        if self.directory.is_dir():
            os.chdir(self.directory)
        account = self.shards.work(rank, world_size)
        half = accounts / f"{rank:05}.{platform.node()}.{os.getpid()}.half"
        half.write_text(json.dumps(asdict(account)))
        half.rename(accounts / f"{rank:05}.json")
        yield from ()


def executor_of(shards: ShardPass) -> LocalPipelineExecutor:
    """datatrove's executor of a pass: it knows which ranks are done, and how to do one."""
    return LocalPipelineExecutor(
        [ShardStep(shards)], tasks=shards.tasks, logging_dir=str(shards.progress)
    )


def run_rank(executor: LocalPipelineExecutor, rank: int) -> None:
    """One rank, unless it is done: its work, its log, its mark."""
    executor._run_for_rank(rank, local_rank=1)  # 0 would log to the console too


def run_locally(shards: ShardPass) -> None:
    """Do the ranks that are not done yet in processes of this machine.

    Not in datatrove's pool, which waits for ever for a process that was killed (memory ran out).
    """
    executor = executor_of(shards)
    ranks = executor.get_incomplete_ranks()
    workers = min(shards.workers, len(ranks))
    if workers < 2:
        for rank in ranks:
            run_rank(deepcopy(executor), rank)
        return
    pool = ProcessPoolExecutor(workers, get_context("forkserver"), _begin_process)
    try:
        for rank in as_completed([pool.submit(run_rank, executor, rank) for rank in ranks]):
            rank.result()
    except BrokenProcessPool as error:
        raise StageError(
            shards.stage,
            f"a process was killed while it worked on a shard of pass {shards.what!r}; "
            "most likely memory ran out",
            "lower workers and run the same command again: finished shards are kept",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # what runs is let finish


def _begin_process() -> None:
    """A process of the pool would outlive a driver that is killed, if it did not look."""
    silence_datatrove()

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def silence_datatrove() -> None:
    """Our own log line and bar say it shorter."""
    logger.disable("datatrove")
