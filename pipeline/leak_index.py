"""The runs of words by which benchmark items are searched for, every item with all its runs.

A text of 13 words or more is found by any 13 successive words (GPT-3, arXiv 2005.14165, appendix
C), one of 8 to 12 words whole; program text takes 24, for loops over numbers and alphabets share
13. A shorter question is a common phrase, so it counts only together with its answer, or with all
its choices, near it; an item with fewer than 8 words even so is not searched for, and is counted
as such. A run must have some different words with letters: numbers in order are in any test. A run
that more than 20 items share is the benchmark's own form ("def check(candidate): ..."), and says
nothing of an item.

What it costs: about 2 s and 60 MB for 22,600 items and 760,000 runs.
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
LETTERED_WORDS = 6  # different ones, in a run; of a short one, half its words
_LONGEST_WORDS = 4_096  # of a companion


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
        description="How far a short question's answer or choices may be (words).",
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
    group_ends: npt.NDArray[np.int64]
    other_keys: npt.NDArray[np.uint64]
    other_words: npt.NDArray[np.int64]
    searched: npt.NDArray[np.bool_]  # by item: whether anything of it can be found


def make_index(items: Sequence[Item], rules: WordRules) -> Index:
    """The index of all runs of all items."""
    from pipeline import leak_loops as loops

    units = [unit for i, item in enumerate(items) for unit in _units(i, item, rules)]
    powers = _powers()
    words = [word_arrays(unit.text.encode("utf-8", "replace")) for unit in units]
    counts = np.array([len(w[0]) for w in words], np.int64)
    hashes = np.concatenate([w[0] for w in words] or [np.zeros(0, np.uint64)])
    letters = np.concatenate([w[1] for w in words] or [np.zeros(0, np.uint8)])
    sums = np.zeros(len(hashes) + 1, np.uint64)
    loops.prefix_sums(hashes, len(hashes), sums)
    longest = [rules.code_ngram_words if u.is_code else rules.ngram_words for u in units]
    lengths = np.minimum(counts, np.array(longest, np.int64))
    runs = np.maximum(counts - lengths + 1, 0) * (lengths > 0)
    unit_of = np.repeat(np.arange(len(units)), runs)
    word_of = np.arange(len(unit_of)) - np.repeat(np.cumsum(runs) - runs, runs)
    firsts = word_of + np.repeat(np.cumsum(counts) - counts, runs)
    many = lengths[unit_of]
    grouped = np.array([bool(unit.others) for unit in units], bool)[unit_of]
    enough = np.zeros(len(unit_of), bool)
    _mark_telling(hashes, letters, firsts, many, grouped, enough)
    found = np.zeros(len(unit_of), np.uint64)
    loops.hash_runs(sums, firsts, many, powers, found)
    item_of = np.array([unit.item for unit in units], np.int64)[unit_of]
    enough &= many > 1
    pairs = np.zeros(1 << loops.PAIR_BITS, np.uint64)
    loops.fill_pairs(hashes, firsts[enough], many[enough], pairs)
    return _arrange(units, items, found, unit_of, word_of, item_of, enough, pairs, powers)


def _arrange(
    units: list[Unit], items: Sequence[Item], found: Any, unit_of: Any, word_of: Any, item_of: Any,
    enough: Any, pairs: Any, powers: Any,
) -> Index:  # fmt: skip
    """Sort the runs by key, without those that too many items of a benchmark share."""
    from pipeline import leak_loops as loops

    order = np.lexsort((word_of, unit_of, found))
    order = order[enough[order]]
    keys, starts, sizes = np.unique(found[order], return_index=True, return_counts=True)
    common = np.zeros(len(keys), bool)
    for k in np.flatnonzero(sizes > MOST_ITEMS_OF_A_RUN):
        mine = item_of[order[starts[k] : starts[k] + sizes[k]]]
        common[k] = len(np.unique(mine)) > MOST_ITEMS_OF_A_RUN
    order, sizes = order[~np.repeat(common, sizes)], sizes[~common]
    keys = np.ascontiguousarray(keys[~common])
    slots = np.full(1 << max(4, int(2 * len(keys) + 1).bit_length()), -1, np.int32)
    bitmap = np.zeros(1 << (loops.BITMAP_BITS - 6), np.uint64)
    loops.fill_table(keys, slots, bitmap)
    searched = np.zeros(len(items), bool)
    searched[item_of[order]] = True
    group_ends, other_keys, other_words = _groups(units, powers)
    return Index(
        tuple(units), keys, slots, bitmap, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.stack([unit_of[order], word_of[order]], 1).astype(np.int32).reshape(-1, 2),
        pairs, powers, group_ends, other_keys, other_words, searched,
    )  # fmt: skip


def _units(number: int, item: Item, rules: WordRules) -> Iterator[Unit]:
    """The texts of an item, with the short question's companions."""
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
    if tells_alone(item.question, rules):
        yield Unit(number, "question", item.question)
    elif words:
        for part, others in [*(("answer", (a,)) for a in item.answers), ("choices", item.choices)]:
            pieces = [text for text in (item.question, *others) if _count(text)]
            if len(pieces) > 1 and sum(map(_count, pieces)) >= least:
                anchor = pieces[0] if words > 1 else max(pieces, key=_count)
                rest = tuple(text for text in pieces if text is not anchor)
                yield Unit(number, f"question+{part}", anchor, rest)


def tells_alone(text: str, rules: WordRules) -> bool:
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


def _powers() -> Any:
    from pipeline import leak_loops as loops

    powers = np.ones(_LONGEST_WORDS, np.uint64)
    for i in range(1, len(powers)):
        powers[i] = np.uint64((int(powers[i - 1]) * int(loops.BASE)) & 0xFFFFFFFFFFFFFFFF)
    return powers


def _mark_telling(
    hashes: Any, letters: Any, firsts: Any, many: Any, grouped: Any, enough: Any
) -> None:
    from pipeline import leak_loops as loops

    loops.mark_telling(hashes, letters, firsts, many, grouped, LETTERED_WORDS, enough)


def _groups(units: Sequence[Unit], powers: Any) -> tuple[Any, Any, Any]:
    """The hashes of whole companions, as the compiled search compares them."""
    from pipeline import leak_loops as loops

    ends, keys, sizes = [0], [], []
    for unit in units:
        for text in unit.others:
            hashes = word_arrays(text.encode("utf-8", "replace"))[0]
            sums = np.zeros(len(hashes) + 1, np.uint64)
            loops.prefix_sums(hashes, len(hashes), sums)
            keys.append(loops.run_hash(sums, 0, len(hashes), powers))
            sizes.append(len(hashes))
        ends.append(len(keys))
    return np.array(ends, np.int64), np.array(keys, np.uint64), np.array(sizes, np.int64)
