"""The documents as they are published: one configuration an arm, a split to train on, one to judge.

The arms of stage 7 still hold the documents of held-out groups, which the token shards leave out.
Whoever loads the text must not train on them either, so they are taken out here and are the split
`validation`, the same for every configuration. Small files are joined, so that there are few.
What it costs: one more reading and writing of every arm, in batches, and its place on the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.arms import ARMS
from pipeline.records import DOCUMENT, read_batches
from pipeline.splits import ValidationConfig, in_validation
from pipeline.stage import Sealed

DATA = "data"
VALIDATION = "validation"
_FILE_BYTES = 1 << 30  # of Arrow memory in one file, some 300 MB of Parquet
_COUNTED: dict[str, tuple[str, str | None]] = {  # a column, of documents of a kind
    "kind": ("kind", None), "source": ("source", None), "origin": ("origin", None),
    "licence": ("licence", None), "language": ("language", "web"),
    "program_language": ("language", "code"),
}  # fmt: skip
_UNKNOWN = "unknown"


def config_of(arm: str) -> str:
    """An arm's name as a configuration: a plus is not allowed in it."""
    return arm.replace("+", "_")


CONFIGS = tuple(config_of(arm) for arm in ARMS)
DEFAULT_CONFIG = config_of("kept+synthetic")


@dataclass(frozen=True)
class Part:
    """A split as it is published: `raw/train`, or `validation`, which all configurations share.

    `memory_bytes` is its size as Arrow tables, `file_bytes` on the disk; `counts` are its documents
    by kind, source and so on.
    """

    name: str
    files: tuple[str, ...]  # relative to the published directory
    documents: int
    memory_bytes: int
    file_bytes: int
    counts: Mapping[str, Mapping[str, int]]

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Part:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**record, "files": tuple(record["files"])})


def parts_of(config: str) -> dict[str, str]:
    """A configuration's parts by split."""
    return {"train": f"{config}/train", "validation": VALIDATION}


def write_data(out: Path, arms: Sealed, seed: int, held_out: ValidationConfig) -> list[Part]:
    """Write every part below `out`/data: the train splits by arm, then the validation split."""
    split = _Split(seed, held_out)
    parts = []
    for arm in ARMS:
        files = arms.files(f"arms/{arm}/*.parquet")
        name = parts_of(config_of(arm))["train"]
        parts.append(_write(out, name, (split.of(b, False) for b in read_batches(files))))
    files = arms.files("arms/raw/*.parquet")
    parts.append(_write(out, VALIDATION, (split.of(b, True) for b in read_batches(files))))
    return parts


class _Split:
    """Which rows are held out, asking once for each group."""

    def __init__(self, seed: int, held_out: ValidationConfig) -> None:
        self.seed, self.config = seed, held_out
        self._known: dict[str, bool] = {}

    def of(self, batch: pa.RecordBatch, validation: bool) -> pa.RecordBatch:
        """The rows of one side."""
        groups = batch["group"].dictionary_encode()
        sides = [self._is_held_out(name) == validation for name in groups.dictionary.to_pylist()]
        return batch.filter(pa.array(sides, pa.bool_()).take(groups.indices))

    def _is_held_out(self, group: str) -> bool:
        if group not in self._known:
            self._known[group] = in_validation(group, self.seed, self.config)
        return self._known[group]


def _write(out: Path, name: str, batches: Iterable[pa.RecordBatch]) -> Part:
    """One part, in files of bounded size; one empty file where it has no rows."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
    documents = memory_bytes = 0
    files: list[str] = []
    with ExitStack() as opened:
        room, writer = 0, None
        for batch in _never_none(batches):
            if writer is None or room <= 0:
                opened.close()
                files.append(f"{DATA}/{name}/{len(files):05}.parquet")
                (out / files[-1]).parent.mkdir(parents=True, exist_ok=True)
                writer = opened.enter_context(
                    pq.ParquetWriter(out / files[-1], DOCUMENT, compression="zstd")
                )
                room = _FILE_BYTES
            if batch.num_rows:
                writer.write_batch(batch)
            room -= batch.nbytes
            documents, memory_bytes = documents + batch.num_rows, memory_bytes + _memory(batch)
            _count(counts, batch)
    told = {name: dict(sorted(found.items())) for name, found in counts.items()}
    file_bytes = sum((out / file).stat().st_size for file in files)
    return Part(name, tuple(files), documents, memory_bytes, file_bytes, told)


def _memory(batch: pa.RecordBatch) -> int:
    """Bytes as they are read back: without the marks of what is null, where nothing is."""
    marks = sum(column.null_count == 0 and column.buffers()[0] is not None
                for column in batch.columns)  # fmt: skip
    found: int = batch.nbytes - marks * ((batch.num_rows + 7) // 8)
    return found


def _never_none(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches that have rows, or one that has none."""
    any_rows = False
    for batch in batches:
        if batch.num_rows:
            any_rows = True
            yield batch
    if not any_rows:
        yield pa.RecordBatch.from_pylist([], schema=DOCUMENT)


def _count(counts: dict[str, Counter[str]], batch: pa.RecordBatch) -> None:
    for name, (column, kind) in _COUNTED.items():
        rows = batch if kind is None else batch.filter(pc.equal(batch["kind"], kind))
        _add_values(counts[name], rows[column])


def _add_values(counts: Counter[str], column: pa.Array) -> None:
    for row in pc.value_counts(column).to_pylist():
        counts[row["values"] or _UNKNOWN] += row["counts"]


def count_licences(arms: Sealed, arm: str) -> dict[str, int]:
    """Documents of an arm by licence, "unknown" where there is none."""
    counts: Counter[str] = Counter()
    for batch in read_batches(arms.files(f"arms/{arm}/*.parquet"), ["licence"]):
        _add_values(counts, batch["licence"])
    return dict(sorted(counts.items()))
