"""What was accepted and what was rejected, written as it is decided, in the order of the plan.

Near copies are known only here: whether a piece has a twin depends on what stands before it. Rows
go to disk in row groups, so memory holds the index of what was accepted and little else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.kept_files import RowGroups, Writer
from pipeline.ledger import Ledger
from pipeline.records import DOCUMENT, SYNTHETIC_REJECT
from pipeline.twins import Twins

NEAR_COPY = "near_copy"
_UNLIKE = ("doc_id", "text", "url_or_path", "metadata")
_REJECTED_UNLIKE = ("prompt_id", "evidence", "draw", "text")


@dataclass(frozen=True)
class Draft:
    """One answer on its way to the shelf; `reason` says why it is not accepted, so far."""

    prompt_id: str
    draw: Mapping[str, Any]
    row: Mapping[str, Any] | None  # of `records.DOCUMENT`; None where nothing was written
    reason: str | None
    evidence: str
    failed: bool = False  # no usable answer, which is not the draft's own fault
    text: str | None = None  # of what is no piece by itself

    @property
    def stands(self) -> bool:
        """Whether nothing is known against it."""
        return self.reason is None and self.row is not None

    @property
    def is_near_copy(self) -> bool:
        """Whether it was rejected for what stands on the shelf already."""
        return self.reason == NEAR_COPY


@dataclass
class Shelf:
    """The accepted and the rejected, and how many of each."""

    twins: Twins
    writers: Mapping[str, Writer]  # by the task's name
    rejects: Writer
    asked: int = 0
    drafts_kept: int = 0
    blocks_executed: int = 0
    accepted: Counter[str] = field(default_factory=Counter)  # pieces, by task
    dropped: Counter[str] = field(default_factory=Counter)  # drafts, by reason
    failed: Counter[str] = field(default_factory=Counter)

    def against_earlier(self, draft: Draft) -> Draft:
        """The draft, rejected where it has a twin on the shelf already."""
        twin = self.twins.same_words(draft.row["text"]) if draft.row and draft.stands else None
        return draft if twin is None else replace(draft, reason=NEAR_COPY, evidence=twin)

    def settle(self, task: str, draft: Draft) -> Draft:
        """Accept a draft that is a whole piece, or write down why not; as it was settled."""
        settled = self.shelve(task, draft)
        self.count(settled)
        return settled

    def shelve(self, task: str, draft: Draft) -> Draft:
        """Accept a piece unless it has a twin; its drafts are counted apart."""
        if draft.row is None or not draft.stands:
            return draft
        twin = self.twins.settle(draft.row["doc_id"], draft.row["text"])
        if twin is not None:
            return replace(draft, reason=NEAR_COPY, evidence=twin)
        _add(self.writers[task], [draft.row], DOCUMENT)
        self.accepted[task] += 1
        return draft

    def count(self, draft: Draft) -> None:
        """Account for a draft, which may be a part of a piece."""
        self.asked += 1
        if draft.reason is None:
            self.drafts_kept += 1
            return
        (self.failed if draft.failed else self.dropped)[draft.reason] += 1
        rejected = {
            "prompt_id": draft.prompt_id, "reason": draft.reason, "evidence": draft.evidence,
            "draw": json.dumps(draft.draw), "text": draft.row["text"] if draft.row else draft.text,
        }  # fmt: skip
        _add(self.rejects, [rejected], SYNTHETIC_REJECT)

    @property
    def ledger(self) -> Ledger:
        """Drafts asked = kept + dropped and failed by reason."""
        return Ledger(
            "drafts", self.asked, self.drafts_kept,
            dict(sorted(self.dropped.items())), dict(sorted(self.failed.items())),
        )  # fmt: skip


@contextmanager
def open_shelf(out: Path, directories: Mapping[str, str], twins: Twins) -> Iterator[Shelf]:
    """A shelf that writes `<directory>/00000.parquet` for each task, and rejects.parquet."""
    with ExitStack() as files:

        def opened(path: Path, schema: pa.Schema, unlike: Sequence[str]) -> RowGroups:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = RowGroups(path, schema, tuple(unlike))
            files.callback(writer.close)
            return writer

        writers = {
            task: opened(out / directory / "00000.parquet", DOCUMENT, _UNLIKE)
            for task, directory in directories.items()
        }
        rejects = opened(out / "rejects.parquet", SYNTHETIC_REJECT, _REJECTED_UNLIKE)
        yield Shelf(twins, writers, rejects)


def _add(writer: Writer, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    writer.write(pa.RecordBatch.from_pylist(list(rows), schema=schema))
