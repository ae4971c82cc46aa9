"""Some documents of every rule, drawn at random, so that a person can read what it drops.

The draw is a hash of the document's id, so it depends on no shard and no worker: the least of all
places are kept, shard by shard, and then the least of those. Texts are cut, and redacted like any
other; of a document that was dropped for a secret only the evidence is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.clean_rules import SECRET
from pipeline.pii import PiiConfig, redact
from pipeline.records import read_rows, write_table
from pipeline.splits import place_of

EXAMPLE = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("place", pa.float64(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("url_or_path", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
_SHOWN_CHARS, _READ_CHARS = 1_500, 20_000  # what is cut off must not hide half of a key


@dataclass(frozen=True)
class ExampleConfig:
    """How examples are drawn: by this seed, so many of each reason, and redacted like this."""

    seed: int
    most: int
    pii: PiiConfig


class Examples:
    """The least places of each reason, of the documents of one shard."""

    def __init__(self, config: ExampleConfig) -> None:
        self.config = config
        self._rows: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)  # by reason and id

    def add(self, dropped: pa.RecordBatch, documents: pa.RecordBatch) -> None:
        """Take in rows of `records.DROPPED` and the documents that they stand for, in one order."""
        most = self.config.most
        for at, row in enumerate(dropped.to_pylist() if most else ()):
            place = place_of(row["doc_id"], self.config.seed, "example")
            held = self._rows[row["reason"]]
            if len(held) == most and place >= max(one["place"] for one in held.values()):
                continue
            text = "" if row["reason"] == SECRET else documents["text"][at].as_py()
            held[row["doc_id"]] = {
                "reason": row["reason"], "place": place, "doc_id": row["doc_id"],
                "kind": row["kind"], "evidence": row["evidence"], "text": text[:_READ_CHARS],
                "url_or_path": documents["url_or_path"][at].as_py(),
            }  # fmt: skip
            if len(held) > most:
                del held[max(held, key=lambda doc_id: held[doc_id]["place"])]

    def write(self, path: Path) -> None:
        """Write them, redacted, by reason."""
        rows = [row for reason in sorted(self._rows) for row in self._rows[reason].values()]
        texts = pa.array([row["text"] for row in rows], pa.string())
        redacted = redact(texts, [row["kind"] for row in rows], self.config.pii)
        shown = zip(rows, redacted.texts.to_pylist(), redacted.verdicts, strict=True)
        write_table(
            path,
            ({**row, "text": "" if no else text[:_SHOWN_CHARS]} for row, text, no in shown),
            EXAMPLE,
        )


def merge_examples(paths: Iterable[Path], most: int) -> Iterator[dict[str, Any]]:
    """Of all shards' examples the least places of each reason, by reason and place."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_rows(paths):
        found[row["reason"]].append(row)
    for reason in sorted(found):
        yield from sorted(found[reason], key=lambda row: (row["place"], row["doc_id"]))[:most]


def as_page(rows: Iterable[dict[str, Any]]) -> str:
    """The examples as Markdown, for reading."""
    lines, reason = ["# What each rule dropped", ""], None
    for row in rows:
        if row["reason"] != reason:
            reason = row["reason"]
            lines += [f"## {reason}", ""]
        fence = "~" * 8
        lines += [f"`{row['doc_id']}` {row['kind']}, {row['url_or_path']}: {row['evidence']}", ""]
        lines += [fence, row["text"], fence, ""]
    return "\n".join(lines) + "\n"
