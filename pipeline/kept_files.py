"""Writers of what is kept: Parquet in even row groups, or lines of JSON as they came.

Rows are gathered to row groups of one size, because a filter that keeps one in a hundred would
else leave groups of forty. Text is written without dictionary and statistics: both cost much time
and bring nothing, since no two texts are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.addresses import whole_file
from pipeline.records import ROWS_PER_GROUP

GROUP_BYTES = 64 << 20


class Writer(Protocol):
    """Takes rows of one sort, batch after batch."""

    def write(self, rows: Any) -> None: ...

    def close(self) -> None: ...


W = TypeVar("W", bound=Writer)


@contextmanager
def writing(address: str, opened: Callable[[Path], W]) -> Iterator[W]:
    """A writer whose file is at `address` once the block has ended well."""
    with whole_file(address) as path:
        writer = opened(path)
        yield writer
        writer.close()


class RowGroups:
    """A Parquet file of even row groups; `plain` columns get neither dictionary nor statistics."""

    def __init__(
        self, path: Path, schema: pa.Schema, plain: tuple[str, ...], rows: int = ROWS_PER_GROUP
    ) -> None:
        few = [f.name for f in schema if f.name not in plain and not pa.types.is_nested(f.type)]
        self.file = pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=few or False,
            write_statistics=few or False,
        )  # fmt: skip
        self.schema, self.rows = schema, rows
        self.waiting: list[pa.RecordBatch] = []

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows; they are written when there are enough of them."""
        if len(rows):
            self.waiting.append(rows)
            enough = sum(len(batch) for batch in self.waiting) >= self.rows
            if enough or sum(batch.nbytes for batch in self.waiting) >= GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self.waiting:
            table = pa.Table.from_batches(self.waiting).cast(self.schema)
            self.file.write_table(table, row_group_size=len(table))
            self.waiting = []

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._flush()
        self.file.close()


class Lines:
    """A `.jsonl.zst` file of lines as they came; `rows` are binary arrays of whole lines."""

    def __init__(self, path: Path) -> None:
        self.file = pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd")

    def write(self, rows: pa.LargeBinaryArray) -> None:
        """Write the lines' bytes, which lie one after the other."""
        _, offsets, content = rows.buffers()
        ends = np.frombuffer(offsets, np.int64, len(rows) + 1, 8 * rows.offset)
        if ends[-1] > ends[0]:
            self.file.write(content[int(ends[0]) : int(ends[-1])])

    def close(self) -> None:
        """End the stream."""
        self.file.close()
