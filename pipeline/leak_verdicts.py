"""What was found, told by benchmark: documents hit, items leaked, and their share of all items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.benchmark_items import BenchmarkConfig, Item
from pipeline.manifest import hash_file


def make_verdicts(
    benchmarks: Sequence[BenchmarkConfig],
    items: Sequence[Item],
    searched: Iterable[bool],
    leaks: Iterable[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One record for each benchmark, as benchmarks.json holds them."""
    by_name: dict[str, list[tuple[Item, bool]]] = defaultdict(list)
    for item, is_searched in zip(items, searched, strict=True):
        by_name[item.benchmark].append((item, bool(is_searched)))
    documents, leaked = defaultdict(set), defaultdict(set)
    by_kind: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in leaks:
        documents[row["benchmark"]].add(row["doc_id"])
        leaked[row["benchmark"]].add(row["item"])
        by_kind[row["benchmark"]][row["kind"]].add(row["doc_id"])
    return [
        {
            "name": b.name,
            "sha256": hash_file(Path(b.path)),
            "fields": list(b.fields) or b.item_fields.model_dump(exclude_defaults=True),
            "texts": sum(_texts(item) for item, _ in by_name[b.name]),
            "items": len(by_name[b.name]),
            "items_searched": sum(is_searched for _, is_searched in by_name[b.name]),
            "items_leaked": len(leaked[b.name]),
            "items_leaked_share": len(leaked[b.name]) / len(by_name[b.name]),
            "documents_removed": len(documents[b.name]),
            "documents_by_kind": {k: len(v) for k, v in sorted(by_kind[b.name].items())},
        }
        for b in benchmarks
    ]


def _texts(item: Item) -> int:
    return len(item.alone) + len(item.alone_code) + bool(item.question)
