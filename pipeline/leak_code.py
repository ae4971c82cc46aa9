"""Programs of a benchmark under other names: fingerprints propose, syntax trees decide.

An item's fingerprint is a choice (winnowing) of its runs of 8 tokens that does not change with
names, comments and layout; of a document every run is looked up, so no shared run is missed. A
document that holds much of an item's fingerprint is a candidate; its functions are then compared
with the item's as syntax trees (`pipeline.leak_trees`), and the score is theirs. Small programs
must be equal but for names, and the smallest (`return x + y`) are anybody's: those are searched
for by words only. docs/decontamination.md shows how the limits were chosen.

Source: Schleimer, Wilkerson, Aiken, "Winnowing" (2003), which is MOSS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.benchmark_items import Item
from pipeline.config import Section
from pipeline.leak_records import quoted
from pipeline.leak_renaming import renamed
from pipeline.leak_trees import best_match, tree_parts

MOST_ITEMS_OF_A_RUN = 30  # a run of more items is an idiom
_ROOM = 1_024
_SAME = 0.97  # of small trees: nearly nothing may differ
_SAME_PRINTS = 0.8  # of their fingerprints


class CodeRules(Section):
    """What counts as the same program under other names."""

    min_containment: float = Field(
        0.5, gt=0, le=1, description="Least share of an item's fingerprint in a candidate document."
    )
    min_tree_parts: int = Field(
        15, ge=5, le=1_000, description="Programs of fewer parts have no structure of their own."
    )
    small_tree_parts: int = Field(
        60, ge=5, le=10_000, description="Programs of fewer parts must be the same but for names."
    )
    min_similarity: float = Field(
        0.9, gt=0, le=1, description="Least similarity of larger syntax trees, names aside."
    )


@dataclass(frozen=True)
class CodeIndex:
    """Fingerprint k: `keys[k]`, of the forms `owners[ends[k]:ends[k + 1]]`.

    An item has two forms, as it is written and as Python would write it without annotations.
    """

    keys: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int32]
    bitmap: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]  # by form: its fingerprints
    needed: npt.NDArray[np.int32]  # by form
    item_of: npt.NDArray[np.int64]  # by form

    @property
    def searched(self) -> Any:
        """The numbers of the items that can be found."""
        return np.unique(self.item_of[self.sizes > 0])


def make_code_index(items: Sequence[Item], rules: CodeRules) -> CodeIndex:
    """The index of the fingerprints of all items whose programs are large enough."""
    from pipeline import leak_loops as loops
    from pipeline.leak_tokens import run_hashes, winnow

    forms = [(i, form) for i, item in enumerate(items) for form in _forms(item.code, rules)]
    prints = [np.asarray(winnow(run_hashes(form)), np.uint64) for _, form in forms]
    item_of = np.array([i for i, _ in forms], np.int64)
    owner = np.repeat(np.arange(len(forms), dtype=np.int32), [len(p) for p in prints])
    found = np.concatenate(prints or [np.zeros(0, np.uint64)])
    order = np.lexsort((owner, found))
    keys, counts = np.unique(found, return_counts=True)
    idiom = counts > 2 * MOST_ITEMS_OF_A_RUN
    order, counts = order[~np.repeat(idiom, counts)], counts[~idiom]
    keys = np.ascontiguousarray(keys[~idiom])
    slots = np.full(1 << max(4, int(2 * len(keys) + 1).bit_length()), -1, np.int32)
    bitmap = np.zeros(1 << (loops.BITMAP_BITS - 6), np.uint64)
    loops.fill_table(keys, slots, bitmap)
    sizes = np.bincount(owner[order], minlength=len(forms)).astype(np.int32)
    small = np.array([tree_parts(form) < rules.small_tree_parts for _, form in forms], bool)
    share = np.where(small, max(_SAME_PRINTS, rules.min_containment), rules.min_containment)
    needed = np.maximum(1, np.ceil(sizes * share)).astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return CodeIndex(keys, slots, bitmap, ends, owner[order], sizes, needed, item_of)


def _forms(code: str, rules: CodeRules) -> list[str]:
    if not code or tree_parts(code) < rules.min_tree_parts:
        return []
    return [form for form in (code, renamed(code)) if form]


def find_code(
    texts: Any, doc_ids: Sequence[str], items: Sequence[Item], index: CodeIndex, rules: CodeRules
) -> Iterator[dict[str, Any]]:
    """The evidence rows of N texts (an Arrow array), by document, then by item."""
    for document, number, share, first, last in candidates(texts, index):
        text, item, span = texts[document].as_py(), items[number], [first, last]
        if not text.isascii():  # bytes are no characters
            span = [len(text.encode()[:at].decode("utf-8", "ignore")) for at in span]
        match = best_match(text, item.code, *span)
        small = tree_parts(item.code) < rules.small_tree_parts
        if match is None or match.score < (_SAME if small else rules.min_similarity):
            continue
        yield {
            "doc_id": doc_ids[document],
            "benchmark": item.benchmark,
            "item": item.name,
            "part": "code",
            "kind": "code",
            "evidence": f"{share:.0%} of the fingerprints, syntax trees "
            f"{match.score:.3f} alike but for names",
            "document_text": quoted(text, match.first, match.last),
            "item_text": quoted(item.code, 0, len(item.code)),
            "score": match.score,
        }


def candidates(texts: Any, index: CodeIndex) -> list[tuple[int, int, float, int, int]]:
    """(document, item, share of its fingerprints, their first byte, their last), each pair once."""
    from classifiers.arrow_text import text_buffers
    from pipeline.leak_code_loops import search_programs
    from pipeline.leak_tokens import RUN_TOKENS, kept_names

    data, offsets = text_buffers(texts)
    room = _ROOM
    while True:
        found = np.empty((room, 5), np.int64)
        n = search_programs(
            data, offsets, kept_names(), index.keys, index.slots, index.bitmap, index.ends,
            index.owners, index.needed, RUN_TOKENS, found,
        )  # fmt: skip
        if n <= room:
            break
        room = n
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    for document, form, shared, first, last in found[:n].tolist():
        pair = document, int(index.item_of[form])
        best[pair] = max(best.get(pair, (0.0, 0, 0)), (shared / index.sizes[form], first, last))
    return [(*pair, *best[pair]) for pair in sorted(best)]
