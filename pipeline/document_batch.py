"""Documents on their way to the filter: a batch of rows, and which of them cannot be scored.

A batch keeps, beside the texts, kinds and ids that the filter reads, the rows as they came (Arrow
columns, or lines of JSON), so that what is kept is written untouched. The checks are Arrow's own,
over whole columns: a Python object is made for a faulty row alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MAX_DOCUMENT_BYTES = 10_000_000  # a long book has about 2 MB
KINDS = ("web", "code")

FAILED = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # or line, from 1
        pa.field("reason", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Fields:
    """Which fields of a row are read; `kind` stands where there is no kind field, or it is null."""

    text: str = "text"
    kind: Literal["web", "code"] | None = "web"
    kind_field: str | None = None
    id: str | None = None

    @property
    def names(self) -> list[str]:
        """The fields that a row is asked for."""
        return [name for name in (self.text, self.kind_field, self.id) if name is not None]


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be scored; `row` counts from 1, as lines do in an editor."""

    row: int
    reason: str
    evidence: str


@dataclass(frozen=True)
class Batch:
    """Documents that can be scored, row for row, and the faulty ones that stood between them."""

    rows: Any  # pa.RecordBatch of all columns, or pa.LargeBinaryArray of lines
    texts: pa.Array
    kinds: pa.Array
    ids: pa.Array
    faults: Sequence[Fault] = ()


def make_ids(given: pa.Array | None, name: str, numbers: pa.Array) -> pa.Array:
    """The documents' own ids as strings; `<file>:<row>` where there is none."""
    made = pc.binary_join_element_wise(pa.scalar(name), numbers.cast(pa.string()), ":")
    return made if given is None else pc.coalesce(given.cast(pa.string()), made)


def fill_kinds(given: pa.Array | None, fields: Fields, count: int) -> pa.Array:
    """The documents' kinds as strings, with the default filled in."""
    if given is None:
        return pa.repeat(pa.scalar(fields.kind, pa.string()), count)
    kinds = given.cast(pa.string())
    return kinds.fill_null(fields.kind) if fields.kind and kinds.null_count else kinds


def sift(batch: Batch, numbers: pa.Array, max_document_bytes: int) -> Batch:
    """Take out the rows that cannot be scored; `numbers` are the rows' places in the file."""
    reasons = dict(_reasons(batch, max_document_bytes))
    if not reasons:
        return batch
    faults = [Fault(numbers[i].as_py(), *reasons[i]) for i in sorted(reasons)]
    good = np.ones(len(batch.texts), bool)
    good[list(reasons)] = False
    mask = pa.array(good)
    return Batch(
        batch.rows.filter(mask), batch.texts.filter(mask), batch.kinds.filter(mask),
        batch.ids.filter(mask), [*batch.faults, *faults],
    )  # fmt: skip


def _reasons(batch: Batch, max_document_bytes: int) -> Iterator[tuple[int, tuple[str, str]]]:
    """(index, (reason, evidence)) of faulty rows; where a row comes twice, the last one tells."""
    known = pc.is_in(batch.kinds, pa.array(KINDS))
    if not pc.all(known).as_py():
        for i in np.flatnonzero(~known.to_numpy(zero_copy_only=False)):
            yield int(i), ("unknown_kind", f"{batch.kinds[i].as_py()!r}"[:200])
    try:
        batch.texts.validate(full=True)
    except pa.ArrowInvalid:
        yield from _undecodable(batch.texts)
    sizes = pc.binary_length(batch.texts).fill_null(-1).to_numpy(zero_copy_only=False)
    for i in np.flatnonzero(sizes > max_document_bytes):
        yield int(i), ("too_large", f"{sizes[i]} bytes")
    for i in np.flatnonzero(sizes < 0):
        yield int(i), ("no_text", "the text is missing or null")


def _undecodable(texts: pa.Array) -> Iterator[tuple[int, tuple[str, str]]]:
    for i, raw in enumerate(texts.cast(pa.large_binary())):
        try:
            (raw.as_py() or b"").decode()
        except UnicodeDecodeError as error:
            yield i, ("invalid_utf8", str(error)[:200])
