"""The runs of words by which benchmark items are searched for, every item with all its runs.

A text of 13 words or more is found by any 13 successive words (GPT-3, arXiv 2005.14165, appendix
C), one of 8 to 12 words whole; program text takes 24, for loops over numbers and alphabets share
13. A run must have some different words with letters: numbers in order are in any test. A run that
more than 20 items share is the benchmark's own form ("def check(candidate): ..."), and says nothing
of an item. A question that has no run of its own, because it is shorter, of mere numbers, or of
such a form ("What will Others want to do next?"), counts whole together with its answer, or with
all its choices, near it; an item with fewer than 8 words even so is not searched for, and is
counted as such.

What it costs: about 5 s for 22,600 items, the programs' fingerprints included
(docs/decontamination.md).
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
from pipeline.leak_folding import fold_words, word_arrays

MOST_ITEMS_OF_A_RUN = 20
MOST_RUN_WORDS = 64  # masks of lengths have as many bits
LETTERED_WORDS = 6  # different ones, in a run; of a short one, half its words


class WordRules(Section):
    """What counts as the same words."""

    ngram_words: int = Field(13, ge=8, le=50, description="Successive words that make a hit.")
    code_ngram_words: int = Field(
        24, ge=8, le=64, description="The same for program text, whose idioms are longer."
    )
    min_item_words: int = Field(
        8, ge=5, le=50,
        description="Shorter texts are searched for only with their answer or choices (words).",
    )  # fmt: skip
    near_words: int = Field(
        60,
        ge=10,
        le=500,
        description="How far a short question's answer or choices may be (words), their own aside.",
    )


@dataclass(frozen=True)
class Unit:
    """One text of an item; with `others` (words, hash by their own units), they must be near."""

    item: int
    part: str
    text: str
    others: tuple[str, ...] = ()
    is_code: bool = False


@dataclass(frozen=True)
class Index:
    """Run k has key `keys[k]` and the entries `ends[k]` to `ends[k + 1]`: (unit, word) pairs.

    `group_ends` int64[units + 1] bounds each unit's `others` in `other_keys` and `other_words`.
    """

    units: tuple[Unit, ...]
    keys: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int32]
    bitmap: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int32]  # [entries, 2]
    pairs: npt.NDArray[np.uint64]  # masks of the lengths of runs, by their first two words
    powers: npt.NDArray[np.uint64]
    reach: npt.NDArray[np.int64]  # by unit: words beside the run that must stand near it
    group_ends: npt.NDArray[np.int64]
    other_keys: npt.NDArray[np.uint64]
    other_words: npt.NDArray[np.int64]
    searched: npt.NDArray[np.bool_]  # by item: whether anything of it can be found
    told: frozenset[str]  # the texts that are found by themselves


def make_index(items: Sequence[Item], rules: WordRules) -> Index:
    """The index of all runs of all items."""
    index = _make_index(items, rules, frozenset())
    shared = {u.item for u in index.units if u.text == items[u.item].question and not u.others}
    shared = {i for i in shared if items[i].question not in index.told}
    return _make_index(items, rules, frozenset(shared)) if shared else index


def _make_index(items: Sequence[Item], rules: WordRules, shared: frozenset[int]) -> Index:
    """The index, where the questions of the items `shared` need their companions."""
    from pipeline import leak_loops as loops

    units = [unit for i, item in enumerate(items) for unit in _units(i, item, rules, i in shared)]
    words = [word_arrays(unit.text.encode("utf-8", "replace")) for unit in units]
    counts = np.array([len(w[0]) for w in words], np.int64)
    hashes = np.concatenate([w[0] for w in words] or [np.zeros(0, np.uint64)])
    letters = np.concatenate([w[1] for w in words] or [np.zeros(0, np.uint8)])
    sums = np.zeros(len(hashes) + 1, np.uint64)
    loops.prefix_sums(hashes, len(hashes), sums)
    lengths = np.minimum(counts, np.array([_most_words(unit, rules) for unit in units], np.int64))
    runs = np.maximum(counts - lengths + 1, 0) * (lengths > 0)
    unit_of = np.repeat(np.arange(len(units)), runs)
    word_of = np.arange(len(unit_of)) - np.repeat(np.cumsum(runs) - runs, runs)
    firsts = word_of + np.repeat(np.cumsum(counts) - counts, runs)
    many = lengths[unit_of]
    grouped = np.array([bool(unit.others) for unit in units], bool)[unit_of]
    enough = np.zeros(len(unit_of), bool)
    loops.mark_telling(hashes, letters, firsts, many, grouped, LETTERED_WORDS, enough)
    group_ends, others = _groups(units)
    powers = _powers(max([MOST_RUN_WORDS, *map(len, others)]))
    found = np.zeros(len(unit_of), np.uint64)
    loops.hash_runs(sums, firsts, many, powers, found)
    enough &= many > 1
    pairs = np.zeros(1 << loops.PAIR_BITS, np.uint64)
    loops.fill_pairs(hashes, firsts[enough], many[enough], pairs)
    item_of = np.array([unit.item for unit in units], np.int64)[unit_of]
    order = np.lexsort((word_of, unit_of, found))
    order = order[enough[order]]
    order = order[grouped[order] | ~_are_common(found[order], item_of[order], grouped[order])]
    keys, sizes = np.unique(found[order], return_counts=True)
    slots = np.full(1 << max(4, int(2 * len(keys) + 1).bit_length()), -1, np.int32)
    bitmap = np.zeros(1 << (loops.BITMAP_BITS - 6), np.uint64)
    loops.fill_table(keys, slots, bitmap)
    searched = np.zeros(len(items), bool)
    searched[item_of[order]] = True
    other_words = np.array([len(o) for o in others], np.int64)
    beside = np.concatenate([[0], np.cumsum(other_words)]).astype(np.int64)[group_ends]
    return Index(
        tuple(units), keys, slots, bitmap, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.stack([unit_of[order], word_of[order]], 1).astype(np.int32).reshape(-1, 2),
        pairs, powers, counts - lengths + np.diff(beside), group_ends,
        np.array([_hash_whole(o, powers) for o in others], np.uint64), other_words, searched,
        frozenset(units[u].text for u in np.unique(unit_of[order]) if not units[u].others),
    )  # fmt: skip


def _most_words(unit: Unit, rules: WordRules) -> int:
    """Of a run; the questions that need companions stand whole, if they are not very long."""
    if unit.others:
        return MOST_RUN_WORDS
    return rules.code_ngram_words if unit.is_code else rules.ngram_words


def _are_common(keys: Any, item_of: Any, grouped: Any) -> Any:
    """bool[runs]: whether too many items have the key of this run (sorted) without companions."""
    pairs = np.unique(np.stack([keys[~grouped], item_of[~grouped].astype(np.uint64)], 1), axis=0)
    known, items = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(keys, known[items > MOST_ITEMS_OF_A_RUN])


def _units(number: int, item: Item, rules: WordRules, is_shared: bool) -> Iterator[Unit]:
    """The texts of an item, with the companions of a question that has no run of its own."""
    least = rules.min_item_words
    for part, text in item.alone:
        if _count(text) >= least:
            yield Unit(number, part, text)
    for part, text in item.alone_code:
        if _count(text) >= least:
            yield Unit(number, part, text, is_code=True)
    known = {text for _, text in (*item.alone, *item.alone_code)}
    for part, texts in (("answer", item.answers), ("choices", item.choices)):
        for text in dict.fromkeys(texts):
            if text not in known and _count(text) >= rules.ngram_words:
                yield Unit(number, part, text)
    words = _count(item.question)
    if not is_shared and _tells_alone(item.question, rules):
        yield Unit(number, "question", item.question)
    elif words:
        for part, others in [*(("answer", (a,)) for a in item.answers), ("choices", item.choices)]:
            pieces = [text for text in (item.question, *others) if _count(text)]
            if len(pieces) > 1 and sum(map(_count, pieces)) >= least:
                anchor = pieces[0] if words > 1 else max(pieces, key=_count)
                rest = tuple(text for text in pieces if text is not anchor)
                yield Unit(number, f"question+{part}", anchor, rest)


def _tells_alone(text: str, rules: WordRules) -> bool:
    """Whether a question is long enough, and of words enough, to be told by itself."""
    words = fold_words(text)
    run = min(len(words), rules.ngram_words)
    wanted = min(LETTERED_WORDS, run // 2)
    runs = (set(words[i : i + run]) for i in range(len(words) - run + 1))
    return len(words) >= rules.min_item_words and any(
        sum(not word.isdecimal() for word in found) >= wanted for found in runs
    )


def _count(text: str) -> int:
    return len(word_arrays(text.encode("utf-8", "replace"))[0])


def _powers(most: int) -> Any:
    """uint64[most + 1]: the powers of the base of hashes."""
    from pipeline import leak_loops as loops

    powers = np.ones(most + 1, np.uint64)
    for i in range(1, len(powers)):
        powers[i] = np.uint64((int(powers[i - 1]) * int(loops.BASE)) & 0xFFFFFFFFFFFFFFFF)
    return powers


def _groups(units: Sequence[Unit]) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """Where each unit's companions begin and end, and the word hashes of all companions."""
    others = [word_arrays(o.encode("utf-8", "replace"))[0] for unit in units for o in unit.others]
    ends = np.cumsum([0, *(len(unit.others) for unit in units)])
    return ends.astype(np.int64), others


def _hash_whole(hashes: Any, powers: Any) -> Any:
    """The hash of all words of a companion, as the compiled search compares it."""
    from pipeline import leak_loops as loops

    sums = np.zeros(len(hashes) + 1, np.uint64)
    loops.prefix_sums(hashes, len(hashes), sums)
    return loops.run_hash(sums, 0, len(hashes), powers)
