"""Pairs of documents on disk: sorted chunks in which those of a range of documents are slices.

A pair is a uint64: the later position in the upper half, the earlier one in the lower half.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]

CHUNK_PAIRS = 1 << 19  # 4 MiB
_LEAST_ROOM = 64  # more than one document has


class PairFile(AbstractContextManager["PairFile"]):
    """Pairs in sorted chunks, so that those of one run are slices; whole once `ends` is there."""

    def __init__(self, stem: Path) -> None:
        self.path, self.ends = stem.with_suffix(".pairs"), stem.with_suffix(".ends.npy")
        self._buffer = np.empty(0, np.uint64)
        self._held = 0
        self._ends: list[int] = []
        self._file: Any = None

    @property
    def done(self) -> bool:
        """Whether it was written to its end."""
        return self.ends.exists()

    @property
    def count(self) -> int:
        """How many pairs it holds."""
        return int(np.load(self.ends)[-1])

    def __enter__(self) -> PairFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._buffer, self._ends = np.empty(CHUNK_PAIRS, np.uint64), [0]
        self._file = self.path.open("wb")
        return self

    def room(self) -> UInt64s:
        """Where the next pairs may be put."""
        if len(self._buffer) - self._held < _LEAST_ROOM:
            self._flush()
        return self._buffer[self._held :]

    def add(self, made: int) -> None:
        """So many pairs were put into `room`."""
        self._held += made

    def write(self, pairs: UInt64s) -> None:
        """Add pairs that lie elsewhere."""
        while len(pairs):
            room = self.room()
            size = min(len(room), len(pairs))
            room[:size] = pairs[:size]
            self.add(size)
            pairs = pairs[size:]

    def _flush(self) -> None:
        chunk = self._buffer[: self._held]
        chunk.sort()
        chunk.tofile(self._file)
        self._ends.append(self._ends[-1] + self._held)
        self._held = 0

    def __exit__(self, failed: Any, *_: object) -> None:
        if failed is None:
            self._flush()
        self._file.close()
        self._buffer = np.empty(0, np.uint64)
        if failed is None:
            half = self.ends.with_suffix(".half")
            with half.open("wb") as file:
                np.save(file, np.array(self._ends, np.int64))
            half.rename(self.ends)


def read_pairs(home: Path, low: int, high: int) -> UInt64s:
    """The pairs below a directory whose later document is from `low` to before `high`."""
    parts = [np.array(pairs[begin:end]) for pairs, begin, end in _slices(home, low, high)]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


def count_pairs(home: Path, low: int, high: int) -> int:
    """How many pairs `read_pairs` would give."""
    return sum(end - begin for _, begin, end in _slices(home, low, high))


def _slices(home: Path, low: int, high: int) -> Iterator[tuple[UInt64s, int, int]]:
    wanted = np.array([low << 32, high << 32], np.uint64)
    for path in sorted(home.glob("*.ends.npy")):
        ends = np.load(path)
        if ends[-1]:
            pairs = np.memmap(str(path).replace(".ends.npy", ".pairs"), np.uint64, "r")
            for begin, end in pairwise(ends):
                near, far = np.searchsorted(pairs[begin:end], wanted)
                yield pairs, int(begin + near), int(begin + far)
