"""The journal of a handoff: who asked, who approved and why, what was started, what came of it.

One file per dataset, `handoffs/<first 16 of its fingerprint>/journal.jsonl` in the run, of which
the last line is the state. It is the memory of the handoff: a flow, a command and the web page may
each die at any moment, and whoever comes next reads here where to go on. A line is added under a
lock and flushed to the disk before anything else happens; a line that a crash cut short never
counted, and the next writer removes it. `requested` begins an attempt; all that follows is of it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, StageError
from pipeline.handoff_record import HANDOFF
from pipeline.manifest import read_manifest

JOURNAL = "journal.jsonl"
HANDOFFS = "handoffs"
STATES = (
    "requested", "verified", "previewed", "waiting", "approved", "rejected", "triggered",
    "running", "done", "failed", "evaluated", "promoted", "held",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One line: when (UTC, ISO 8601), the state from then on, by whom and why, and figures.

    `waiting` has details {"flow_run_id", "preview"}; flow_run_id is null where no flow waits.
    """

    at: str
    state: str
    by: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def dataset_fingerprint(run: Path) -> str:
    """The fingerprint of the dataset that is sealed in the run now: that of its handoff."""
    manifest = read_manifest(run / "10-handoff")
    if manifest is None or HANDOFF not in manifest.files:
        raise InputError(
            "handoff", f"{run} has no sealed handoff", "run the recipe until handoff first"
        )
    return manifest.fingerprint


def journal_directory(run: Path, fingerprint: str | None = None) -> Path:
    """Where the journal of a dataset lies, with what belongs to it; of the sealed one if none."""
    return run / HANDOFFS / (fingerprint or dataset_fingerprint(run))[:16]


def read_journal(run: Path, fingerprint: str | None = None) -> list[Entry]:
    """Every entry about a dataset (of the sealed one if none is named), oldest first."""
    return _read(journal_directory(run, fingerprint) / JOURNAL)


def state_of(run: Path, fingerprint: str | None = None) -> Entry | None:
    """The last entry about a dataset; None where no handoff was asked for."""
    entries = read_journal(run, fingerprint)
    return entries[-1] if entries else None


def attempt_of(entries: Sequence[Entry]) -> list[Entry]:
    """The entries of the last attempt: from the last `requested` on."""
    starts = [i for i, entry in enumerate(entries) if entry.state == "requested"]
    return list(entries[starts[-1] :]) if starts else []


def last_with(entries: Sequence[Entry], state: str) -> Entry | None:
    """The last entry of this state."""
    return next((entry for entry in reversed(entries) if entry.state == state), None)


def append_entry(
    run: Path, state: str, *, by: str | None = None, reason: str | None = None,
    details: Mapping[str, Any] | None = None, after: Collection[str | None] | None = None,
    fingerprint: str | None = None,
) -> Entry:  # fmt: skip
    """Add an entry and return it; it is on the disk when this returns.

    With `after`, only while the state is one of these (None: no entry yet), else InputError: of
    two who decide at once, one decides.
    """
    assert state in STATES, state
    path = journal_directory(run, fingerprint) / JOURNAL
    entry = Entry(datetime.now(UTC).isoformat(timespec="seconds"), state, by, reason, details or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as file:
        entries = _read(path)
        now = entries[-1].state if entries else None
        if after is not None and now not in after:
            raise InputError(
                "handoff", f"the handoff of {run} is {now or 'not begun'}: it cannot be {state}",
                f"see primer handoff {run.name}",
            )  # fmt: skip
        os.ftruncate(file, _whole_bytes(path))
        line = (json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False) + "\n").encode()
        while line:  # a disk that is nearly full takes a part, and refuses the rest
            line = line[os.write(file, line) :]
        os.fsync(file)
    _flush_directory(path.parent)
    return entry


def _read(path: Path) -> list[Entry]:
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        return []
    entries = []
    for number, line in enumerate(whole[: whole.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise StageError(
                "handoff", f"{path}: line {number} is damaged", "restore the journal from a backup"
            ) from error
    return entries


def _whole_bytes(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The journal opened to be added to; the kernel lets go of the lock when we die."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _flush_directory(directory: Path) -> None:
    """The journal's name, and those of the directories that were made for it, on the disk too."""
    for place in (directory, directory.parent, directory.parent.parent):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
