"""Leaks by words: candidates of the compiled search, each proved on the text itself.

Hashes only propose. A run counts when the words that stand at its place in the document, folded
once more, are the words of the item; so a collision of hashes is never a hit.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.benchmark_items import Item
from pipeline.leak_folding import fold_spans, fold_words, folding
from pipeline.leak_index import Index, Unit
from pipeline.leak_records import quoted

_ROOM = 4_096


def find_words(
    texts: Any, doc_ids: Sequence[str], items: Sequence[Item], index: Index, near_words: int
) -> Iterator[dict[str, Any]]:
    """The evidence rows of N texts (an Arrow array), by document, then by unit."""
    from classifiers.arrow_text import text_buffers

    data, offsets = text_buffers(texts)
    by_unit: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in _candidates(data, offsets, index, near_words):
        by_unit[int(row[0]), int(index.entries[row[1], 0])].append(row)
    for (document, number), rows in sorted(by_unit.items()):
        unit = index.units[number]
        prove = _prove_together if unit.others else _prove_runs
        proved = prove(data, offsets[document], offsets[document + 1], rows, unit, index)
        if proved is not None:
            item = items[unit.item]
            yield {
                "doc_id": doc_ids[document], "benchmark": item.benchmark, "item": item.name,
                "part": unit.part, **proved,
            }  # fmt: skip


def _candidates(data: Any, offsets: Any, index: Index, near_words: int) -> Any:
    from pipeline.leak_loops import search_documents

    f, room = folding(), _ROOM
    while True:
        found = np.empty((room, 6), np.int64)
        n = search_documents(
            data, offsets, f.table, f.starts, f.codes, index.keys, index.slots, index.bitmap,
            index.ends, index.entries, index.pairs, index.powers, index.reach, index.group_ends,
            index.other_keys, index.other_words, near_words, found,
        )  # fmt: skip
        if n <= room:
            return found[:n]
        room = n


def _prove_runs(
    data: Any, start: int, end: int, rows: list[Any], unit: Unit, index: Index
) -> dict[str, Any] | None:
    """The longest stretch of proved runs, and the share of the unit's words that are covered."""
    words = _words(unit.text)
    covered = np.zeros(len(words), bool)
    best, open_run = (0, 0, 0, 0), (-1, 0, 0, 0)  # (first word, last word + 1, first byte, last)
    for _, entry, first, last, _, _ in rows:  # in the document's order
        here = _fold(_decode(data, first, last))
        at = int(index.entries[entry, 1])
        if here != words[at : at + len(here)]:
            continue
        covered[at : at + len(here)] = True
        if open_run[0] >= 0 and open_run[1] + 1 == at + len(here) and first < open_run[3]:
            open_run = (open_run[0], at + len(here), open_run[2], int(last))
        else:
            open_run = (at, at + len(here), int(first), int(last))
        if open_run[1] - open_run[0] > best[1] - best[0]:
            best = open_run
    if not covered.any():
        return None
    spans = _spans(unit.text)
    return {
        "kind": "whole" if len(words) == best[1] - best[0] else "words",
        "evidence": " ".join(words[best[0] : best[1]]),
        "document_text": _shown(data, start, end, best[2], best[3]),
        "item_text": quoted(unit.text, spans[best[0]][0], spans[best[1] - 1][1]),
        "score": float(covered.mean()),
    }


def _prove_together(
    data: Any, start: int, end: int, rows: list[Any], unit: Unit, index: Index
) -> dict[str, Any] | None:
    """The first place where the unit's whole text and all its companions stand together."""
    for _, _, _, _, low, high in rows:
        around = f" {' '.join(_fold(_decode(data, low, high)))} "
        wanted = [" ".join(_words(text)) for text in (unit.text, *unit.others)]
        if all(f" {text} " in around for text in wanted):
            return {
                "kind": "together",
                "evidence": " | ".join(wanted),
                "document_text": _shown(data, start, end, int(low), int(high)),
                "item_text": quoted("\n".join((unit.text, *unit.others)), 0, len(unit.text)),
                "score": 1.0,
            }
    return None


def _shown(data: Any, start: int, end: int, first: int, last: int) -> str:
    """The document's text from byte `first` to `last`, with its surroundings."""
    before = _decode(data, max(start, first - 400), first)
    shown = _decode(data, first, last)
    return quoted(before + shown + _decode(data, last, min(end, last + 400)),
                  len(before), len(before) + len(shown))  # fmt: skip


def _decode(data: Any, first: int, last: int) -> str:
    """The text of some bytes, without what is left of a character that was cut."""
    return bytes(data[first:last]).decode("utf-8", "ignore")


def _fold(text: str) -> list[str]:
    return fold_words(text)


@functools.lru_cache(4_096)
def _words(text: str) -> list[str]:
    return fold_words(text)


@functools.lru_cache(4_096)
def _spans(text: str) -> list[tuple[int, int]]:
    return fold_spans(text)[1]
