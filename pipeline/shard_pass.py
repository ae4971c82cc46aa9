"""One pass of a stage over its shards, and the directory in which its progress is kept.

    work/<what>/ledgers/00007.json             the account of rank 7
    work/<what>/datatrove/completions/00007    datatrove's mark that rank 7 is done
    work/<what>/datatrove/logs/task_00007.log  what datatrove logged of it

The directory is all that driver and workers share: whichever process on whichever machine did a
rank, its account is found there, and a rank that is marked is not done again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.ledger import Ledger


class ShardWork(Protocol):
    """The work on one shard: picklable, writes its own files, returns its account."""

    def __call__(self, rank: int, world_size: int) -> Ledger: ...


@dataclass(frozen=True)
class ShardPass:
    """`work` once for each rank below `tasks`, `workers` of them at a time.

    `home` is absolute. `what` names the pass within the stage.
    """

    stage: str
    what: str
    home: Path
    work: ShardWork
    tasks: int
    workers: int

    @property
    def accounts(self) -> Path:
        """The directory of the ranks' accounts."""
        return self.home / "ledgers"

    @property
    def progress(self) -> Path:
        """datatrove's `logging_dir`: completions, logs, statistics."""
        return self.home / "datatrove"

    def log_of(self, rank: int) -> Path:
        """What datatrove logged while it worked on a rank."""
        return self.progress / "logs" / f"task_{rank:05}.log"

    def done(self) -> int:
        """How many ranks are marked as complete."""
        marks = self.progress / "completions"
        return len(list(marks.iterdir())) if marks.exists() else 0

    def read_accounts(self) -> list[Ledger]:
        """The accounts that are there, by rank."""
        paths = sorted(self.accounts.glob("*.json"))
        return [Ledger.from_json(json.loads(path.read_text())) for path in paths]
