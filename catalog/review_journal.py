"""What people decided about labels: a journal that only grows, and the labels that stand by it.

`reviews/decisions.jsonl` has one line for each decision and each withdrawal, flushed to the disk
before the page says so; nothing in it is ever changed. From it `reviews/human_labels.jsonl` is
written anew, whole or not at all: one line for each document whose score stands, as
`label.human_labels` reads it (a file in which a document was scored twice is refused there, so a
journal alone could not be undone). Neither lies in a sealed directory.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import StageError

FOLDER, JOURNAL, LABELS = "reviews", "decisions.jsonl", "human_labels.jsonl"


@dataclass(frozen=True)
class Decision:
    """One line; a `human_score` of None withdraws what was decided about the document before."""

    at: str
    doc_id: str
    human_score: int | None
    annotator: str
    note: str
    rubric: str | None


def decide(
    run: Path, doc_id: str, score: int | None, annotator: str, note: str, rubric: str | None
) -> None:
    """Write a decision down for good, and the labels that stand after it.

    The very same one again (a form sent twice) adds nothing. Raises StageError where another score
    stands, or none does that could be withdrawn: of two who decide at once, one does.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    with _alone(folder):
        last = next((d for d in reversed(read_decisions(run)) if d.doc_id == doc_id), None)
        said = None if last is None else (last.human_score, last.annotator, last.note)
        if said != (score, annotator, note):
            before = None if last is None or last.human_score is None else last
            _check(doc_id, score, before)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            about = before.rubric if before else rubric
            decision = Decision(at, doc_id, score, annotator, note, about)
            _append(folder / JOURNAL, json.dumps(asdict(decision), ensure_ascii=False))
        _write_labels(folder, standing(run))  # also where somebody died before writing them


def _check(doc_id: str, score: int | None, before: Decision | None) -> None:
    if score is not None and before is not None:
        raise StageError(
            "review", f"{before.annotator} has decided about {doc_id} already",
            "withdraw that decision first",
        )  # fmt: skip
    if score is None and before is None:
        raise StageError(
            "review", f"nothing stands about {doc_id} that could be withdrawn", "look at the queue"
        )


def standing(run: Path) -> dict[str, Decision]:
    """The decisions that stand, by document, the latest last."""
    found: dict[str, Decision] = {}
    for decision in read_decisions(run):
        found.pop(decision.doc_id, None)
        if decision.human_score is not None:
            found[decision.doc_id] = decision
    return found


def read_decisions(run: Path) -> list[Decision]:
    """Every line in order; StageError for one that is damaged.

    A last line without its end was never acknowledged: the machine died while writing it.
    """
    path = run / FOLDER / JOURNAL
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    decisions = []
    for number, line in enumerate(lines, 1):
        if not line.startswith(b"{") or not line.endswith(b"}"):
            continue  # the half of a line, closed by the next writer
        try:
            decisions.append(Decision(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise StageError(
                "review", f"{path}, line {number}, is damaged ({error})", "correct that line"
            ) from error
    return decisions


def _append(path: Path, line: str) -> None:
    """Add a line and wait until it is on the disk; half a line before it is closed first."""
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        half = False
        if end:
            file.seek(end - 1)
            half = file.read(1) != b"\n"
        file.write((b"\n" if half else b"") + line.encode("utf-8", "replace") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _write_labels(folder: Path, decisions: dict[str, Decision]) -> None:
    temporary = folder / f".{LABELS}"
    with temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for one in decisions.values():
            file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / LABELS)
    for place in (folder, folder.parent):  # the new names too
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one writer at a time, of all processes."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
