"""What is in batches that are under way, on the disk before a batch can exist.

A batch lives for hours, longer than many a process. Its requests are noted before its file leaves,
the file's id before the batch is created, the batch's id as soon as there is one, and all of it is
forgotten once every answer is stored. So whatever a killed process was in the middle of, the next
one knows what not to send again, and where to look for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.answers import connect

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    batch TEXT PRIMARY KEY, teacher TEXT NOT NULL, noted_at REAL NOT NULL,
    file_id TEXT, batch_id TEXT
);
CREATE TABLE IF NOT EXISTS batched (
    batch TEXT NOT NULL, request TEXT NOT NULL,
    most_prompt INTEGER NOT NULL, most_completion INTEGER NOT NULL,
    likely_prompt INTEGER NOT NULL, likely_completion INTEGER NOT NULL,
    PRIMARY KEY (batch, request)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batched_requests ON batched (request);
CREATE TEMP TABLE failed (request TEXT PRIMARY KEY, tries INTEGER NOT NULL) WITHOUT ROWID;
"""


class Bounds(NamedTuple):
    """Tokens of one request's prompt and answer: the most there can be, and those to expect."""

    most: tuple[int, int]
    likely: tuple[int, int]


@dataclass
class Noted:
    """One batch that is under way, or about to be."""

    name: str
    most: tuple[int, int]  # tokens of all its prompts and answers
    noted_at: float  # time.time()
    file_id: str | None = None
    batch_id: str | None = None


class BatchNotes:
    """The batches of one teacher, whichever stage sent them."""

    def __init__(self, path: Path, teacher: str) -> None:
        """`path` is that of the answers; `teacher` tells the model and the endpoint."""
        self._teacher, self._database = teacher, connect(path)
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def under_way(self) -> list[Noted]:
        """What was noted and not forgotten, the oldest first."""
        rows = self._database.execute(
            "SELECT batch, SUM(most_prompt), SUM(most_completion), noted_at, file_id, batch_id "
            "FROM batches JOIN batched USING (batch) WHERE teacher = ? "
            "GROUP BY batch ORDER BY noted_at",
            (self._teacher,),
        )
        return [Noted(name, (prompt, completion), *ids) for name, prompt, completion, *ids in rows]

    def note(self, name: str, requests: Iterable[tuple[str, Bounds]]) -> None:
        """These requests are about to leave as a batch of this name."""
        rows = ((name, request, *bounds.most, *bounds.likely) for request, bounds in requests)
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:
            self._database.execute(
                "INSERT INTO batches (batch, teacher, noted_at) VALUES (?, ?, ?)",
                (name, self._teacher, time.time()),
            )
            self._database.executemany("INSERT INTO batched VALUES (?, ?, ?, ?, ?, ?)", rows)

    def note_file(self, name: str, file_id: str) -> None:
        """Its file is with the provider; from now on the batch may exist."""
        self._database.execute("UPDATE batches SET file_id = ? WHERE batch = ?", (file_id, name))

    def note_batch(self, name: str, batch_id: str) -> None:
        """It was created."""
        self._database.execute("UPDATE batches SET batch_id = ? WHERE batch = ?", (batch_id, name))

    def forget(self, name: str) -> None:
        """All its answers are stored, or it never came to be."""
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:
            self._database.execute("DELETE FROM batched WHERE batch = ?", (name,))
            self._database.execute("DELETE FROM batches WHERE batch = ?", (name,))

    def has(self, request: str) -> bool:
        """Whether the request is in a batch that is under way."""
        found = self._database.execute(
            "SELECT 1 FROM batched JOIN batches USING (batch) WHERE request = ? AND teacher = ?",
            (request, self._teacher),
        )
        return found.fetchone() is not None

    def requests_of(self, name: str) -> dict[str, Bounds]:
        """The requests of one batch."""
        rows = self._database.execute("SELECT * FROM batched WHERE batch = ?", (name,))
        return {request: Bounds((p, c), (lp, lc)) for _, request, p, c, lp, lc in rows}

    def count_failure(self, request: str) -> int:
        """How often the request has failed since opening, with this time."""
        rows = self._database.execute(
            "INSERT INTO failed VALUES (?, 1) ON CONFLICT DO UPDATE SET tries = tries + 1 "
            "RETURNING tries",
            (request,),
        )
        (tries,) = rows.fetchall()[0]
        return int(tries)
