"""The arms: one answer each to "which data?", written alike and without what leaked.

`random` is the control: a random subset of `raw` as large as `kept`. A filter that does not beat it
has only made the corpus smaller. Which documents it has is decided by a hash of their ids, so that
it does not depend on the number of files; how many, by their pre-tokens (`pretokens`), since there
is no tokenizer yet. What it costs: one more reading of the texts, 16 bytes of memory a document.

A version with a parent appends: the parent's files stay as they are, and those of new documents are
numbered on. Its `random` is the parent's, and as much of the new documents as `kept` has of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.records import DOCUMENT, read_batches
from pipeline.splits import place_of
from pipeline.stage import Sealed

ARMS = ("raw", "kept", "kept+synthetic", "random")
RANKED = ("kept", "kept+synthetic")  # the arms that know what a filter thinks of a document


def write_arms(
    folder: Path, clean: list[Path], kept: list[Path], synthetic: list[Path], gone: set[str],
    seed: int, first: Mapping[str, int] | None = None,
) -> dict[str, int]:  # fmt: skip
    """Write every arm below `folder` without the documents that are gone; returns their rows.

    `first` is the number of each arm's first file, where files of a parent lie before it.
    """
    without, first = pa.array(sorted(gone), pa.string()), first or dict.fromkeys(ARMS, 0)
    of = {"raw": clean, "kept": kept, "kept+synthetic": [*kept, *synthetic], "random": clean}
    paths = {name: _numbered(folder / name, first[name], len(of[name])) for name in ARMS}
    rows = {
        name: _write_arm(paths[name], of[name], without)
        for name in ("raw", "kept", "kept+synthetic")
    }
    below = _bound(paths["raw"], paths["kept"], seed)
    rows["random"] = _write_arm(paths["random"], clean, without, below, seed)
    return rows


def _numbered(folder: Path, first: int, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{number:05}.parquet" for number in range(first, first + count)]


def read_once(arms: Sealed, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Every document of every arm once: all of `raw`, then what is synthetic."""
    yield from read_batches(arms.files("arms/raw/*.parquet"), columns)
    files = arms.files("arms/kept+synthetic/*.parquet")
    for batch in read_batches(files, sorted({*columns, "origin"})):
        yield batch.filter(pc.equal(batch["origin"], "synthetic"))


def _write_arm(
    paths: Sequence[Path], files: Sequence[Path], gone: pa.Array, below: float | None = None,
    seed: int = 0,
) -> int:  # fmt: skip
    """One file for each that is read; with `below`, only documents whose place is under it."""
    rows = 0
    for path, file in zip(paths, files, strict=True):
        with pq.ParquetWriter(path, DOCUMENT, compression="zstd") as writer:
            for batch in read_batches([file]):
                rest = batch.filter(pc.invert(pc.is_in(batch["doc_id"], value_set=gone)))
                if below is not None:
                    rest = rest.filter(pa.array(_places(rest, seed) < below))
                writer.write_batch(rest)
                rows += rest.num_rows
    return rows


def _bound(raw: list[Path], kept: list[Path], seed: int) -> float:
    """The place under which `raw` has as many pre-tokens as `kept`: no document is halved."""
    wanted = int(sum(counts.sum() for _, counts in _counted(kept, seed)))
    found = list(_counted(raw, seed))
    places = np.concatenate([places for places, _ in found] or [np.empty(0)])
    counts = np.concatenate([counts for _, counts in found] or [np.empty(0, np.int64)])
    order = np.argsort(places)
    total = np.cumsum(counts[order])
    enough = int(np.searchsorted(total, wanted))  # the first that reaches it, or none
    if wanted == 0:
        return 0.0
    return float(np.nextafter(places[order[enough]], 2)) if enough < len(total) else 1.0


def _counted(
    paths: list[Path], seed: int
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
    """Places and pre-tokens of an arm's documents, batch by batch."""
    from pipeline.pretokens import count_pretokens  # compiles loops, which takes a second

    for batch in read_batches(paths, ["doc_id", "text"]):
        yield _places(batch, seed), count_pretokens(batch["text"])


def _places(batch: pa.RecordBatch, seed: int) -> npt.NDArray[np.float64]:
    ids = batch["doc_id"].to_pylist()
    return np.array([place_of(doc_id, seed, "random-arm") for doc_id in ids], np.float64)
