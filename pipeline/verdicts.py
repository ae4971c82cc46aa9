"""What the sandbox said of a draft, kept while the stage is unfinished.

Executing a piece's code takes a hundred times as long as reading its answer from the store, so a
stage that is resumed after a kill must not execute again what it has executed. Nothing of this is
sealed: the file lies in the stage's scratch directory.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from pipeline.judge_piece import Judged

_TABLE = "CREATE TABLE IF NOT EXISTS verdicts (draft BLOB PRIMARY KEY, verdict TEXT) WITHOUT ROWID"
_AT_ONCE = 32  # verdicts in a commit: what a kill costs
Draft = tuple[str, dict[str, Any]]  # the prompt's id, and the answer's content


class Verdicts:
    """A durable map from a draft to its verdict."""

    def __init__(self, path: Path, workers: int) -> None:
        self._file, self._workers = sqlite3.connect(path), workers
        self._file.execute(_TABLE)

    def of(self, drafts: Sequence[Draft], judge: Callable[[int], Judged]) -> list[Judged]:
        """The verdict on each draft; `judge(i)` is called where it is not known, side by side."""
        names = [hashlib.sha256(orjson.dumps(draft)).digest() for draft in drafts]
        found = {i: said for i, name in enumerate(names) if (said := self._known(name))}
        missing = [i for i in range(len(drafts)) if i not in found]
        with ThreadPoolExecutor(self._workers) as pool:
            judged = zip(missing, pool.map(judge, missing), strict=True)
            for n, (i, verdict) in enumerate(judged, 1):
                found[i] = verdict
                row = (names[i], orjson.dumps(list(verdict)))
                self._file.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", row)
                if n % _AT_ONCE == 0:
                    self._file.commit()
        self._file.commit()
        return [found[i] for i in range(len(drafts))]

    def _known(self, name: bytes) -> Judged | None:
        row = self._file.execute("SELECT verdict FROM verdicts WHERE draft = ?", (name,)).fetchone()
        return Judged(*orjson.loads(row[0])) if row else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
