"""Every answer that a teacher gave, stored the moment it arrived: nothing is paid twice.

The key is the hash of the whole rendered request (model, parameters, messages, schema) and of
nothing else, so a changed rubric asks anew and an unrelated field asks nothing. SQLite in WAL
mode: a killed process loses at most what was in flight. The file lies beside the stages, so that
it outlives each of them.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any


class Answers:
    """A durable map from request hash to the raw answer. One process writes at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS answers (request TEXT PRIMARY KEY, answer TEXT NOT NULL)"
        )

    def get(self, request: str) -> dict[str, Any] | None:
        """The stored answer to a request, by its hash."""
        row = self._database.execute(
            "SELECT answer FROM answers WHERE request = ?", (request,)
        ).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, request: str, answer: dict[str, Any]) -> None:
        """Store an answer; it is on its way to the disk when this returns."""
        self._database.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?)", (request, json.dumps(answer))
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
