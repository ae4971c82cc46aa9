"""Questions to the sealed Parquet files of one run, answered by DuckDB behind closed doors.

DuckDB reads only the columns and row groups that a question needs, which is what makes a page over
a million documents quick. A database in memory, with nothing in it, may open the files that it was
given and nothing else: no other file, no network, no extension, no setting changed afterwards. A
question has one thread, a limit of memory and of time, and its values are bound, never written
into the SQL. What it costs: 17 ms to open a database, so those lately used stay open.
Source: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from pipeline.errors import StageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

log = logging.getLogger("primer.catalog")

MEMORY = "1GB"  # of one database, whatever the number of questions
LIMIT_S = 20.0
READERS = 3  # at once
DATABASES = 4  # that stay open

_NAMED = re.compile(r"\$(\w+)")

_free = threading.BoundedSemaphore(READERS)
_here = threading.local()  # whether this thread has its turn


class Reader:
    """Asks questions; made by `open_reader`."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answer's rows by column; `values` are the `$names` in the question."""
        asked = set(_NAMED.findall(sql))
        answer = self._connection.execute(sql, {n: v for n, v in values.items() if n in asked})
        names = [column[0] for column in answer.description]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def number(self, sql: str, values: Mapping[str, Any]) -> int:
        """The one number that the question asks for."""
        ((found,),) = (row.values() for row in self.rows(sql, values))
        return int(found)


@contextmanager
def open_reader(stage: str, files: Sequence[str], limit_s: float = LIMIT_S) -> Iterator[Reader]:
    """A reader of these files, for one request.

    Raises StageError where a file is missing or is no Parquet file, and 503 where the question
    takes too long or too much memory, or too many are asked at once.
    """
    import duckdb

    with _turn(limit_s):
        connection = _open_database(tuple(files)).cursor()
        timer = threading.Timer(limit_s, connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield Reader(connection)
        except duckdb.InterruptException as error:
            raise HTTPException(503, "This took too long: narrow it down with filters.") from error
        except duckdb.OutOfMemoryException as error:
            raise HTTPException(503, "This needs too much memory: narrow it down.") from error
        except duckdb.BinderException as error:
            log.error("the files of %s lack what was asked for: %s", stage, error)
            raise StageError(
                stage, "the sealed files lack a column that this page reads",
                "they may be of another version of Primer: run the recipe again",
            ) from error  # fmt: skip
        except duckdb.Error as error:
            _open_database.cache_clear()  # a fatal error closes a database to every question
            log.warning("a sealed file of %s cannot be read: %s", stage, error)
            raise StageError(
                stage, "a sealed Parquet file is missing or damaged",
                "`primer verify` on this run says which; run the recipe again to make it anew",
            ) from error  # fmt: skip
        finally:
            timer.cancel()
            connection.close()


@contextmanager
def _turn(limit_s: float) -> Iterator[None]:
    """One of the few turns; a question that another one gives rise to shares that one's.

    If it waited for a turn of its own, as many as there are turns could wait for each other.
    """
    if getattr(_here, "has_turn", False):
        yield
        return
    if not _free.acquire(timeout=limit_s):
        raise HTTPException(503, "Too many questions are being answered; try again in a moment.")
    _here.has_turn = True
    try:
        yield
    finally:
        _here.has_turn = False
        _free.release()


@lru_cache(DATABASES)
def _open_database(files: tuple[str, ...]) -> DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
            "enable_external_file_cache": False,  # a file may be sealed anew under its name
        },
    )
    connection.execute("SET allowed_paths = $files", {"files": list(files)})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
