"""Sketches on disk, in runs: what pass 1 of finding copies leaves for the passes after it.

A run holds the sketches of about `RUN_DOCUMENTS` documents that follow each other, so memory is
that of one run however long a shard. Its files are laid out for the passes that read them:

    00003/00000.ids.arrow     doc_id, score      looked up by row
    00003/00000.minima.npy    uint32[n, 128]     looked up by row
    00003/00000.exact.npy     uint64[3, n]       both halves of the exact hash and the row, sorted
    00003/00000.bands.npy     uint64[32, n]      hash of a band (32 bits) and the row, sorted

All are mapped, never parsed: hashes do not compress, and Parquet would have to be decoded by whole
row groups where a pass looks up single rows or a slice of the sorted keys. About 820
bytes a document: 800, and its id.

The position of a document is its number in source order: shard by shard, run by run, row by row.
Positions, and so clusters, do not depend on where shards or runs are cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ledger import Ledger
from pipeline.records import read_batches

if TYPE_CHECKING:
    from pipeline.shingles import Sketches

RUN_DOCUMENTS = 1 << 15
BATCH_BYTES = 16 << 20  # of text that is sketched at once

_IDS = pa.schema([pa.field("doc_id", pa.large_string()), pa.field("score", pa.float64())])


@dataclass(frozen=True)
class Run:
    """The files of one run, and the position of its first document."""

    stem: str
    first: int
    count: int

    @property
    def shard(self) -> int:
        """The number of the shard that it is a part of."""
        return int(Path(self.stem).parent.name)

    @property
    def minima(self) -> npt.NDArray[np.uint32]:
        """uint32[n, MINIMA], mapped."""
        return np.load(f"{self.stem}.minima.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def exact(self) -> npt.NDArray[np.uint64]:
        """uint64[3, n], mapped: the halves of the hash and the row, sorted."""
        return np.load(f"{self.stem}.exact.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def bands(self) -> npt.NDArray[np.uint64]:
        """uint64[BANDS, n], mapped: hash << 32 | row, each band sorted."""
        return np.load(f"{self.stem}.bands.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def ids(self) -> pa.Table:
        """doc_id and score, mapped."""
        with pa.memory_map(f"{self.stem}.ids.arrow") as file:
            return pa.ipc.open_file(file).read_all()


class RunWriter:
    """Takes the documents of one shard in their order; `home` is the pass's, `rank` the shard's."""

    def __init__(self, home: Path, rank: int) -> None:
        self.directory = home / f"{rank:05}"
        if self.directory.exists():  # of a try that was killed
            shutil.rmtree(self.directory)
        self.directory.mkdir(parents=True)
        self.runs = 0
        self._waiting: list[tuple[pa.Array, pa.Array, Sketches]] = []
        self._count = 0

    def add(self, ids: pa.Array, texts: pa.Array, scores: pa.Array | None = None) -> None:
        """Sketch documents and remember them; of copies the one of the highest score survives."""
        from pipeline.shingles import sketch

        if scores is None:
            scores = pa.nulls(len(ids), pa.float64())
        for start, end in _pieces(texts):
            part = slice(start, end)
            self._waiting.append((ids[part], scores[part], sketch(texts[part])))
            self._count += end - start
            if self._count >= RUN_DOCUMENTS:
                self._write()

    def close(self) -> None:
        """Write what waits."""
        if self._count:
            self._write()

    def _write(self) -> None:
        from pipeline.copies_loops import band_entries

        stem = self.directory / f"{self.runs:05}"
        columns = zip(*self._waiting, strict=True)
        ids, scores, sketches = (list(column) for column in columns)
        table = pa.table(
            [pa.chunked_array(ids).cast(pa.large_string()), pa.chunked_array(scores)], schema=_IDS
        )
        with pa.ipc.new_file(f"{stem}.ids.arrow", _IDS) as file:
            file.write_table(table.combine_chunks())
        exact = np.concatenate([part.exact for part in sketches])
        minima = np.concatenate([part.minima for part in sketches])
        self._waiting, self._count = [], 0
        order = np.lexsort((exact[:, 1], exact[:, 0]))  # stable: equal ones stay in source order
        np.save(f"{stem}.exact.npy", np.stack([*exact[order].T, order.astype(np.uint64)]))
        np.save(f"{stem}.minima.npy", minima)
        entries = band_entries(minima)
        entries.sort(axis=1)
        np.save(f"{stem}.bands.npy", entries)
        self.runs += 1


def _pieces(texts: pa.Array) -> Iterator[tuple[int, int]]:
    """Slices of about BATCH_BYTES and at most RUN_DOCUMENTS."""
    rows = max(1, min(RUN_DOCUMENTS, len(texts) * BATCH_BYTES // max(1, texts.nbytes)))
    for start in range(0, len(texts), rows):
        yield start, min(len(texts), start + rows)


def list_runs(home: Path) -> list[Run]:
    """All runs below a directory, in source order."""
    runs, first = [], 0
    for path in sorted(home.glob("*/*.exact.npy")):
        count = np.load(path, mmap_mode="r").shape[1]
        runs.append(Run(str(path).removesuffix(".exact.npy"), first, count))
        first += count
    return runs


@dataclass(frozen=True)
class SketchShard:
    """Pass 1 on its own: sketch the documents of one Parquet file (columns doc_id and text)."""

    files: Sequence[Path]
    home: Path
    score: str | None = None  # a column of numbers

    def __call__(self, rank: int, world_size: int) -> Ledger:
        writer, rows = RunWriter(self.home, rank), 0
        columns = ["doc_id", "text", *([self.score] if self.score else [])]
        for batch in read_batches([self.files[rank]], columns):
            scores = batch[self.score].cast(pa.float64()) if self.score else None
            writer.add(batch["doc_id"], batch["text"], scores)
            rows += len(batch)
        writer.close()
        return Ledger("documents", rows, rows)
