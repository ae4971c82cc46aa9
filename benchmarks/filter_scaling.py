"""How the filter grows: two workers against one, and the memory of one worker on a longer file.

Each measure runs in processes of their own, started and warm before the clock is.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.filter_shard import FilterShard
from pipeline.records import DOCUMENT, read_batches


def speed_up(model: Path, corpus: Path, home: Path, rounds: int) -> float:
    """Seconds of one worker over those of two, on the same four files; the median of rounds."""
    files = tuple(_copy(corpus, home / f"part-{i}.parquet", 1) for i in range(4))
    work = _shard(model, files, home / "scaled")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn) as workers:
        _time(workers, work, 2)  # start, compile, fill the caches
        ratios = sorted(_time(workers, work, 1) / _time(workers, work, 2) for _ in range(rounds))
    return ratios[len(ratios) // 2]


def _time(workers: Executor, work: FilterShard, count: int) -> float:
    began = time.perf_counter()
    for done in [workers.submit(work, rank, count) for rank in range(count)]:
        done.result()
    return time.perf_counter() - began


def peak_mib(model: Path, corpus: Path, home: Path, copies: int) -> tuple[int, float]:
    """Documents, and the peak of a process that filters one file of `copies` of the corpus."""
    source = _copy(corpus, home / "long.parquet", copies)
    work = _shard(model, (source,), home / "long")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:
        peak = workers.submit(_peak_mib, work).result()
    documents = pq.read_metadata(source).num_rows
    source.unlink()
    return documents, peak


def _peak_mib(work: FilterShard) -> float:
    """The kernel's high-water mark of this program alone: `ru_maxrss` counts its parent's too."""
    work(0, 1)
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


def _shard(model: Path, files: tuple[Path, ...], out: Path) -> FilterShard:
    for folder in (out / "scores", out / "kept", out / "tallies"):
        folder.mkdir(parents=True, exist_ok=True)
    return FilterShard(model, files, out, out / "tallies")


def _copy(corpus: Path, target: Path, copies: int) -> Path:
    """The corpus several times over, as one file."""
    with pq.ParquetWriter(target, DOCUMENT, compression="zstd") as writer:
        for _ in range(copies):
            for batch in read_batches([corpus]):
                writer.write_batch(batch)
    return target
