"""How the filter grows: two workers against one, and the memory of one worker on a longer file.

Each measure runs in processes of their own, started and warm before the clock is.
"""

from __future__ import annotations

import functools
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq

from classifiers.scorer import Scorer
from pipeline.filter_shard import FilterShard
from pipeline.records import DOCUMENT, read_batches


def speed_up(model: Path, corpus: Path, home: Path, rounds: int, copies: int) -> float:
    """Seconds of one worker over those of two, on the same two files; the median of rounds.

    Each file holds the corpus `copies` times.
    """
    files = tuple(_copy(corpus, home / f"part-{i}.parquet", copies) for i in range(2))
    work = _shard(model, files, home / "scaled")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn) as workers:
        _time(workers, work, 2)  # start, compile, fill the caches
        ratios = sorted(_time(workers, work, 1) / _time(workers, work, 2) for _ in range(rounds))
    return ratios[len(ratios) // 2]


def _time(workers: Executor, work: FilterShard, count: int) -> float:
    began = time.perf_counter()
    for done in [workers.submit(_filter_share, work, rank, count) for rank in range(count)]:
        done.result()
    return time.perf_counter() - began


def _filter_share(work: FilterShard, rank: int, count: int) -> None:
    for number in range(rank, len(work.files), count):
        work.filter_file(_opened(work.model), work.files[number], f"{number:05}")


@functools.cache
def _opened(model: Path) -> Scorer:
    return Scorer.open(model)


# A program of its own, so that no library of the other contenders is in its memory. VmHWM is the
# kernel's high-water mark of this program alone: `ru_maxrss` counts its parent's too.
_PEAK = """
import re, sys
from pathlib import Path
from classifiers.scorer import Scorer
from pipeline.filter_shard import FilterShard
model, source, out = map(Path, sys.argv[1:])
FilterShard(model, (source,), out, out / "tallies")(0, 1)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peak_mib(model: Path, corpus: Path, home: Path, copies: int) -> tuple[int, float]:
    """Documents, and the peak of a process that filters one file of `copies` of the corpus."""
    source = _copy(corpus, home / "long.parquet", copies)
    out = _shard(model, (source,), home / "long").out
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(model), str(source), str(out)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    documents = pq.read_metadata(source).num_rows
    source.unlink()
    return documents, int(done.stdout) / 1024


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
