"""Pass 3 of clean: the documents that no rule dropped, without those that have a copy elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.clean_examples import ExampleConfig, Examples
from pipeline.clean_rules import COPY_OF_EARLIER, EXACT_COPY, NEAR_COPY, Verdict
from pipeline.clean_shard import SIZES, split
from pipeline.copies_clusters import EARLIER
from pipeline.ledger import Ledger
from pipeline.records import DOCUMENT, DROPPED, read_batches
from pipeline.waterfall import Flow


@dataclass(frozen=True)
class FilterShard:
    """One rank's work: what pass 1 let stand, by the rows of `copied`, into `documents`."""

    scratch: Path
    documents: Path
    examples: ExampleConfig

    def __call__(self, rank: int, world_size: int) -> Ledger:
        name, rows_in, kept = f"{rank:05}.parquet", 0, 0
        copied = pq.read_table(self.scratch / "copied" / name)
        ids, rows = copied["doc_id"].combine_chunks(), copied.to_pylist()
        flow, examples = Flow(), Examples(self.examples)
        dropped = self.scratch / "left_out" / name
        for path in (dropped, self.documents / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        with (
            pq.ParquetWriter(self.documents / name, DOCUMENT, compression="zstd") as passed,
            pq.ParquetWriter(dropped, DROPPED, compression="zstd") as rejected,
        ):
            for batch in read_batches([self.scratch / "standing" / name]):
                rest, gone, out = split(batch, _verdicts(pc.index_in(batch["doc_id"], ids), rows))
                flow.leave(rest)
                flow.take(out)
                examples.add(out, gone)
                rejected.write_batch(out)
                passed.write_batch(rest.drop_columns([column.name for column in SIZES]))
                rows_in, kept = rows_in + len(batch), kept + len(rest)
        examples.write(self.scratch / "examples" / f"copies-{name}")
        (self.scratch / "flows" / f"copies-{rank:05}.json").write_text(json.dumps(flow.as_json()))
        return Ledger("documents", rows_in, kept, {"copies": rows_in - kept})


def _verdicts(places: pa.Array, rows: Sequence[Mapping[str, Any]]) -> list[Verdict | None]:
    """For each document what the row of `copied` at its place says; None where it has none."""
    return [None if place is None else _verdict(rows[place]) for place in places.to_pylist()]


def _verdict(row: Mapping[str, Any]) -> Verdict:
    if row["kind"].endswith(EARLIER):
        said = f"of {row['survivor']}, similarity {row['similarity']:.2f}"
        return Verdict(COPY_OF_EARLIER, said)
    if row["kind"] == "exact":
        return Verdict(EXACT_COPY, f"of {row['survivor']}")
    return Verdict(NEAR_COPY, f"of {row['survivor']}, similarity {row['similarity']:.2f}")
