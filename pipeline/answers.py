"""Every answer that a teacher gave, stored before it counts as given: nothing is paid twice.

The key is the hash of the whole rendered request (model, parameters, messages, schema) and of
nothing else, so a changed rubric asks anew and an unrelated field asks nothing. SQLite in WAL mode
with a sync on every commit: neither a killed process nor a lost power line loses an answer that
was given. Answers that arrive together share a commit, because a sync takes longer than an answer.
The file lies beside the stages, so that it outlives each of them.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (request TEXT PRIMARY KEY, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Answers:
    """A durable map from request hash to the raw answer. One process writes at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer, self._one_writes = _connect(path), threading.Lock()
        self._writer.executescript(_TABLES)
        self._reader = _connect(path)  # reads go on while a thread commits
        self._reader.execute("CREATE TEMP TABLE used (request TEXT PRIMARY KEY) WITHOUT ROWID")
        self._gathered: list[tuple[str, bytes]] = []
        self._next: asyncio.Future[None] | None = None  # of those that are gathered
        self._committing: asyncio.Future[None] | None = None

    def get(self, request: str) -> dict[str, Any] | None:
        """The stored answer to a request, by its hash."""
        return self.get_all([request]).get(request)

    def get_all(self, requests: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The stored answers among these."""
        names = list(requests)
        marks = ",".join("?" * len(names))
        rows = self._reader.execute(
            f"SELECT request, answer FROM answers WHERE request IN ({marks})",  # noqa: S608
            names,
        )
        return {name: orjson.loads(answer) for name, answer in rows}

    def put_all(self, answers: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Store answers in one commit; they are on the disk when this returns."""
        self._write([(name, orjson.dumps(answer)) for name, answer in answers])

    async def put_soon(self, request: str, answer: dict[str, Any]) -> None:
        """Store an answer; it is on the disk when this returns.

        What arrives while a commit is under way shares the next one.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self._gathered.append((request, orjson.dumps(answer)))
        stored = self._next
        if self._committing is None:
            self._committing = asyncio.ensure_future(self._commit_gathered())
        await asyncio.shield(stored)  # one waiter that is cancelled stops no other

    async def _commit_gathered(self) -> None:
        try:
            while self._next is not None:
                rows, stored = self._gathered, self._next
                self._gathered, self._next = [], None
                try:
                    await asyncio.to_thread(self._write, rows)
                except sqlite3.Error as error:
                    stored.set_exception(error)
                except asyncio.CancelledError:  # `close` stores them, if the thread did not
                    self._gathered = rows + self._gathered
                    raise
                else:
                    stored.set_result(None)
        finally:
            self._committing = None

    def _write(self, rows: list[tuple[str, bytes]]) -> None:
        with self._one_writes:
            self._writer.execute("BEGIN IMMEDIATE")
            with self._writer:
                self._writer.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def is_empty(self) -> bool:
        """Whether nothing was ever answered."""
        return self._reader.execute("SELECT 1 FROM answers LIMIT 1").fetchone() is None

    def first_use(self, request: str) -> bool:
        """Whether this is the first time since opening that the answer is used."""
        done = self._reader.execute("INSERT OR IGNORE INTO used VALUES (?)", (request,))
        return done.rowcount == 1

    def note(self, name: str, value: Any) -> None:
        """Remember a value (JSON) about the teacher; it is on the disk when this returns."""
        with self._one_writes:
            self._writer.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, orjson.dumps(value))
            )

    def noted(self, name: str) -> Any:
        """The remembered value, or None."""
        found = self._reader.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return orjson.loads(found[0]) if found else None

    def noted_under(self, beginning: str) -> dict[str, Any]:
        """All remembered values whose names begin so."""
        rows = self._reader.execute("SELECT name, value FROM notes ORDER BY name")
        return {name: orjson.loads(value) for name, value in rows if name.startswith(beginning)}

    def forget(self, name: str) -> None:
        """Remember a value no longer."""
        with self._one_writes:
            self._writer.execute("DELETE FROM notes WHERE name = ?", (name,))

    def close(self) -> None:
        """Store what a stopped run still held, and close the file."""
        if self._gathered:
            self._write(self._gathered)
        self._reader.close()
        self._writer.close()


def _connect(path: Path) -> sqlite3.Connection:
    # one thread at a time uses the writer, though not always the same one
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA busy_timeout=10000")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    return database
