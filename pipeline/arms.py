"""The arms: one answer each to "which data?", written alike and without what leaked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.records import DOCUMENT, read_batches

ARMS = ("raw", "kept", "kept+synthetic")


def write_arms(
    folder: Path, clean: list[Path], kept: list[Path], synthetic: list[Path], gone: set[str]
) -> dict[str, int]:
    """Write every arm below `folder` without the documents that are gone; returns their rows."""
    files: Mapping[str, list[Path]] = dict(
        zip(ARMS, (clean, kept, [*kept, *synthetic]), strict=True)
    )
    without = pa.array(sorted(gone), pa.string())
    return {name: _write_arm(folder / name, files[name], without) for name in ARMS}


def _write_arm(folder: Path, files: list[Path], gone: pa.Array) -> int:
    """One file for each that was read."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = 0
    for i, file in enumerate(files):
        with pq.ParquetWriter(folder / f"{i:05}.parquet", DOCUMENT, compression="zstd") as writer:
            for batch in read_batches([file]):
                rest = batch.filter(pc.invert(pc.is_in(batch["doc_id"], value_set=gone)))
                writer.write_batch(rest)
                rows += rest.num_rows
    return rows
