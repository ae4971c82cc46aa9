"""Which documents may be copies: sorted keys, one partition at a time, in bounded memory.

A partition is one range of keys of one band (or of the exact hash). Every run has its keys sorted,
so a partition is a slice of each run; the slices are joined and sorted, `room` entries at a time:
the range is halved until its entries fit, and a single key with more of them (a template that half
of the corpus shares) is read piece by piece, in source order, carrying what later pieces need.

Work is bounded too. A document is paired with the first of its bucket and with the `REACH`
documents before it there, never with all: at most 5 pairs a band, 160 a document, whatever the
corpus. Buckets of up to 6 are so compared wholly. What that misses is in docs/copies.md.

Exact copies are found first, and all but the first of each family are left out of the bands: a
page that stands there a thousand times fills no bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.copies_pair_files import PairFile
from pipeline.copies_runs import Run
from pipeline.ledger import Ledger
from pipeline.near_copies import BANDS

UInt64s = npt.NDArray[np.uint64]

EXACT_ENTRY_ROOM = 12  # one entry of the exact hash takes the room of so many of a band
_KEYS = 1 << 32
_PIECE_DOCUMENTS = 8_000_000  # a band is cut into pieces of so many, for there to be work for all


@dataclass(frozen=True)
class PairShard:
    """Write the candidate pairs of every `world_size`-th partition to a file of its own."""

    sort: Literal["exact", "bands"]
    runs: Sequence[Run]
    home: Path
    room: int  # entries of a band
    exact_later: Path | None = None  # uint64 positions, sorted, that are left out

    def __call__(self, rank: int, world_size: int) -> Ledger:
        pairs = 0
        for unit, (band, low, high) in enumerate(partitions(self.sort, self.runs)):
            if unit % world_size == rank:
                file = PairFile(self.home / f"{unit:06}")
                if not file.done:
                    with file:
                        self._fill(file, band, low, high)
                pairs += file.count
        return Ledger("pairs", pairs, pairs)

    def _fill(self, file: PairFile, band: int, low: int, high: int) -> None:
        if self.sort == "exact":
            room = self.room // EXACT_ENTRY_ROOM
            for pieces in _blocks(self.runs, 0, "exact", low, high, room):
                _pair_exact(file, pieces, self.runs)
            return
        left_out = np.zeros(0, np.uint64)
        if self.exact_later is not None:
            left_out = np.load(self.exact_later, mmap_mode="r")
        for pieces in _blocks(self.runs, band, "bands", low, high, self.room):
            _pair_band(file, pieces, self.runs, band, left_out)


def partitions(sort: str, runs: Sequence[Run]) -> list[tuple[int, int, int]]:
    """(band, first key, key after the last) of every partition; they depend on the corpus alone."""
    documents = sum(run.count for run in runs)
    count = 1 + documents // _PIECE_DOCUMENTS
    edges = [_KEYS * k // count for k in range(count + 1)]
    bands = range(BANDS) if sort == "bands" else range(1)
    return [(band, edges[k], edges[k + 1]) for band in bands for k in range(count)]


Piece = list[tuple[int, int, int]]  # (run, begin, end): slices that fit together


def _blocks(
    runs: Sequence[Run], band: int, sort: str, low: int, high: int, room: int
) -> Iterator[list[Piece]]:
    """Ranges of keys, each as pieces of at most about `room` entries; nearly always one."""
    begins, ends = (_places(runs, band, sort, key) for key in (low, high))
    count = sum(ends) - sum(begins)
    if count > room and high - low > 1:
        middle = (low + high) // 2
        yield from _blocks(runs, band, sort, low, middle, room)
        yield from _blocks(runs, band, sort, middle, high, room)
    elif count > 1:
        pieces: list[Piece] = [[]]
        held = 0
        for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            for at in range(begin, end, room):
                size = min(end, at + room) - at
                if held + size > room and held:
                    pieces.append([])
                    held = 0
                pieces[-1].append((number, at, at + size))
                held += size
        yield pieces


def _places(runs: Sequence[Run], band: int, sort: str, key: int) -> list[int]:
    """Where a key begins in every run."""
    if key == _KEYS:
        return [run.count for run in runs]
    if key == 0:
        return [0] * len(runs)
    wanted = np.uint64(key << 32)
    columns = ((run.exact[0] if sort == "exact" else run.bands[band]) for run in runs)
    return [int(np.searchsorted(column, wanted)) for column in columns]


def _pair_band(
    file: PairFile, pieces: list[Piece], runs: Sequence[Run], band: int, left_out: UInt64s
) -> None:
    """Pair up a range of keys; of a single key that comes in pieces, some entries are carried."""
    from pipeline.copies_loops import REACH, pair_up

    carried = np.zeros(0, np.uint64)
    for piece in pieces:
        entries = np.concatenate(
            [carried, *(_entries(runs[r], band, begin, end, left_out) for r, begin, end in piece)]
        )
        at, first = len(carried), 0
        if len(pieces) == 1:
            entries.sort()
        while at < len(entries):
            at, first, made = pair_up(entries, at, first, file.room())
            file.add(made)
        if len(pieces) > 1 and len(entries) > REACH + 1:
            carried = np.concatenate([entries[:1], entries[-REACH:]])
        else:
            carried = entries


def _entries(run: Run, band: int, begin: int, end: int, left_out: UInt64s) -> UInt64s:
    """A slice of a run's keys with positions for rows, without the documents that are left out."""
    entries = np.array(run.bands[band, begin:end])
    near, far = np.searchsorted(left_out, np.array([run.first, run.first + run.count], np.uint64))
    if far > near:
        kept = np.ones(run.count, bool)
        kept[(left_out[near:far] - np.uint64(run.first)).astype(np.int64)] = False
        entries = entries[kept[(entries & np.uint64(0xFFFFFFFF)).astype(np.int64)]]
    entries += np.uint64(run.first)
    return entries


def _pair_exact(file: PairFile, pieces: list[Piece], runs: Sequence[Run]) -> None:
    """Pair equal hashes; the first of each family is carried from piece to piece."""
    from pipeline.copies_loops import pair_exact

    carried = np.zeros((3, 0), np.uint64)
    for piece in pieces:
        parts = [carried]
        for number, begin, end in piece:
            part = np.array(runs[number].exact[:, begin:end])
            part[2] += np.uint64(runs[number].first)
            parts.append(part)
        entries = np.concatenate(parts, axis=1)
        entries = entries[:, np.lexsort((entries[1], entries[0]))]  # stable: carried ones lead
        new = np.ones(entries.shape[1], bool)
        new[1:] = (entries[:2, 1:] != entries[:2, :-1]).any(axis=0)
        pairs = np.empty(entries.shape[1], np.uint64)
        file.write(pairs[: pair_exact(entries[0], entries[1], entries[2], pairs)])
        carried = entries[:, new]
