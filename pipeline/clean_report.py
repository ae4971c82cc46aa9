"""What stage 2 says of its rules: every dropped row, the copies, the waterfall, the examples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clean_examples import EXAMPLE, as_page, merge_examples
from pipeline.clean_rules import COPY_OF_EARLIER, EXACT_COPY, NEAR_COPY, PERSONAL_DATA, SECRET
from pipeline.copies_clusters import COPY
from pipeline.records import DROPPED, read_batches, write_table
from pipeline.stage import Workplace
from pipeline.waterfall import REDACTED, Flow, as_markdown, fall, plot_waterfall

FOUND = (SECRET, PERSONAL_DATA)  # what redaction cannot take away


def report_clean(place: Workplace, rules: Sequence[str], examples: int) -> Flow:
    """Join what the shards left in the scratch; `rules` is the order in which they were asked."""
    scratch, out = place.scratch, place.out
    by_rules, as_copies = (sorted((scratch / w).glob("*.parquet")) for w in ("dropped", "left_out"))
    of_shards = [path for pair in zip(by_rules, as_copies, strict=True) for path in pair]
    _join(out / "dropped.parquet", of_shards, DROPPED)
    _join(out / "copies.parquet", sorted((scratch / "copied").glob("*.parquet")), COPY)
    flow = Flow()
    for path in sorted((scratch / "flows").glob("*.json")):
        flow.add(Flow.of(json.loads(path.read_text())))
    copies = (EXACT_COPY, NEAR_COPY, COPY_OF_EARLIER)
    table = fall(place.stage, flow, [*rules, *FOUND, REDACTED, *copies])
    (out / "waterfall.json").write_text(json.dumps(table, indent=1) + "\n")
    (out / "waterfall.md").write_text(as_markdown(table))
    plot_waterfall(table, out / "waterfall.png")
    shown = list(merge_examples(sorted((scratch / "examples").glob("*.parquet")), examples))
    write_table(out / "examples.parquet", shown, EXAMPLE)
    (out / "examples.md").write_text(as_page(shown))
    return flow


def _join(path: Path, parts: Iterable[Path], schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in read_batches(parts):
            writer.write_batch(batch)
