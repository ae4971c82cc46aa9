"""Every document as tokens, once: on disk, with a table of where each one lies.

Arms share most of their documents, so each is tokenized once and its tokens are spilled to one file
of little-endian ids; an arm is then a list of row numbers. Texts go through the `tokenizers`
library in batches of a few megabytes, which it spreads over all cores.

What it costs: two or four bytes of disk a token; about 70 bytes of memory a document, and a few
hundred megabytes for the batch that is being tokenized, however large the corpus is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.arms import read_once
from pipeline.errors import StageError
from pipeline.fertility import Fertility
from pipeline.mixture import Cell
from pipeline.records import read_batches
from pipeline.score_table import ID, Ids, ScoreTable
from pipeline.splits import ValidationConfig, in_validation, place_of
from pipeline.stage import Sealed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ints = npt.NDArray[np.int64]
Rows = list[dict[str, Any]]
_BATCH_CHARS = 4_000_000  # of text; the library holds some 100 bytes for each of its tokens
_COLUMNS = ["doc_id", "text", "kind", "source", "group", "origin"]


@dataclass(frozen=True)
class TokenStore:
    """Columns of N documents that are not held out; the order of rows says nothing."""

    path: Path
    dtype: np.dtype[np.unsignedinteger[Any]]
    end_of_text: int
    ids: Ids
    start: Ints  # in tokens, in the file at `path`
    length: Ints  # in tokens, with the end of text
    place: npt.NDArray[np.float64]  # in the seeded order, uniform in [0, 1)
    score: npt.NDArray[np.float32]
    cell: Ints  # its number in `cells`
    cells: list[Cell]
    fertility: Fertility
    held_out: int  # documents of the arm raw

    def rows(self, arms: Sealed, arm: str) -> Ints:
        """The row numbers of an arm's documents, in the seeded order."""
        order = np.argsort(self.ids)
        known = self.ids[order]
        found = [np.empty(0, np.int64)]
        for batch in read_batches(arms.files(f"arms/{arm}/*.parquet"), ["doc_id"]):
            ids = np.array(batch["doc_id"].to_pylist(), ID)
            at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
            found.append(order[at[known[at] == ids]])
        rows = np.concatenate(found)
        return rows[np.lexsort((self.ids[rows], self.place[rows]))]

    def tokens(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """All tokens, mapped from disk."""
        return np.memmap(self.path, self.dtype, "r")


class _Table:
    """The columns of a store while it grows, as arrays of a batch each."""

    def __init__(self, scores: ScoreTable, seed: int) -> None:
        self.scores, self.seed = scores, seed
        self.cells: dict[Cell, int] = {}
        self.ids: list[Ids] = []
        self.length: list[Ints] = []
        self.place: list[npt.NDArray[np.float64]] = []
        self.score: list[npt.NDArray[np.float32]] = []
        self.cell: list[Ints] = []

    def add(self, rows: Rows, lengths: Ints) -> None:
        ids = np.array([row["doc_id"] for row in rows], ID)
        cells = [Cell(r["source"], r["kind"], r["origin"] == "synthetic") for r in rows]
        numbers = [self.cells.setdefault(cell, len(self.cells)) for cell in cells]
        self.ids.append(ids)
        self.length.append(lengths)
        self.place.append(np.array([place_of(r["doc_id"], self.seed, "order") for r in rows]))
        self.score.append(self.scores.of(ids)[0])
        self.cell.append(np.array(numbers, np.int64))

    def store(
        self, path: Path, dtype: np.dtype[Any], end_of_text: int, fertility: Fertility,
        held_out: int,
    ) -> TokenStore:  # fmt: skip
        cells = sorted(self.cells)  # their numbers must not depend on the order of reading
        numbers = np.array([cells.index(cell) for cell in self.cells], np.int64)
        length = np.concatenate(self.length)
        return TokenStore(
            path, dtype, end_of_text, np.concatenate(self.ids), np.cumsum(length) - length, length,
            np.concatenate(self.place), np.concatenate(self.score),
            numbers[np.concatenate(self.cell)], cells, fertility, held_out,
        )  # fmt: skip


def tokenize_documents(
    arms: Sealed, path: Path, tokenizer: Tokenizer, end_of_text: int, seed: int,
    held_out: ValidationConfig, scores: ScoreTable, advance: Callable[..., None],
) -> TokenStore:  # fmt: skip
    """Tokenize every document that is not held out; the tokens go to `path`."""
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    dtype: np.dtype[Any] = np.dtype("<u2" if highest < 2**16 else "<u4")
    table, fertility, out = _Table(scores, seed), Fertility(), 0
    with path.open("wb") as spill:
        for batch in read_once(arms, _COLUMNS):
            rows = batch.to_pylist()
            free = [row for row in rows if not in_validation(row["group"], seed, held_out)]
            out += sum(r["origin"] != "synthetic" for r in rows)
            out -= sum(r["origin"] != "synthetic" for r in free)
            for part in _parts(free):
                table.add(part, _spill(spill, part, tokenizer, end_of_text, dtype, fertility))
            advance(len(rows))
    if not table.ids:
        raise StageError(
            "tokenize",
            f"no document is left to train on: validation.share = {held_out.share} holds out all",
            "lower validation.share, or name finer groups (group_depth)",
        )
    return table.store(path, dtype, end_of_text, fertility, out)


def count_documents(arms: Sealed) -> int:
    """Rows that are read, for a progress bar; those that are read and passed over are few."""
    return sum(pq.ParquetFile(path).metadata.num_rows for path in arms.files("arms/raw/*.parquet"))


def _parts(rows: Rows) -> Iterator[Rows]:
    """Runs of rows with a bounded amount of text, at least one row each."""
    part: Rows = []
    size = 0
    for row in rows:
        if part and size + len(row["text"]) > _BATCH_CHARS:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row["text"])
    if part:
        yield part


def _spill(
    spill: BinaryIO, rows: Rows, tokenizer: Tokenizer, end_of_text: int, dtype: np.dtype[Any],
    fertility: Fertility,
) -> Ints:  # fmt: skip
    """Write the rows' tokens, each document with its end; returns their lengths."""
    encoded = tokenizer.encode_batch_fast([row["text"] for row in rows], add_special_tokens=False)
    lengths = np.empty(len(rows), np.int64)
    for i, (row, tokens) in enumerate(zip(rows, encoded, strict=True)):
        ids = np.array([*tokens.ids, end_of_text], dtype)
        spill.write(ids.tobytes())
        lengths[i] = len(ids)
        fertility.count(row, len(ids) - 1)
    return lengths
