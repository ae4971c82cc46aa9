"""The datatrove step that does one shard's work, under whichever executor.

Importing this module imports datatrove: only a pass that runs does. The step lies at module level
because Ray's tasks and Slurm's jobs unpickle it by name, from the Primer installed where they run.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
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


class Local(LocalPipelineExecutor):  # type: ignore[misc]
    """datatrove's processes on this machine, without its chatter."""

    def _launch_run_for_rank(self, *arguments: Any, **options: Any) -> Any:
        silence_datatrove()  # in a worker process too
        return super()._launch_run_for_rank(*arguments, **options)


def run_locally(shards: ShardPass) -> None:
    """Do the ranks that are not done yet in processes of this machine."""
    Local(
        pipeline=[ShardStep(shards)],
        tasks=shards.tasks,
        workers=shards.workers,
        logging_dir=str(shards.progress),
    ).run()


def silence_datatrove() -> None:
    """Our own log line and bar say it shorter."""
    logger.disable("datatrove")
