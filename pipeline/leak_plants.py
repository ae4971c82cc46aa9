"""Recall, measured: items are dressed up as leaks come, and the search must find its own plants.

The dresses are those in which benchmark items are met on the web: as they are; broken into other
lines, indented, quoted and bulleted in Markdown; in another case; with typographic quotes, dashes
and spaces; in the middle of a long real page; and, for programs, with all names changed and without
comments and docstrings. A short question is planted with what makes it an item, its choices or its
answer. What is counted as found is the very item in its own benchmark. Intervals are Wilson's.

Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927).
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.benchmark_items import Item
from pipeline.config import Section
from pipeline.leak_renaming import renamed
from pipeline.leak_search import LeakSearch

Z_95 = 1.96


class PlantedConfig(Section):
    """Planted leaks, with which every run measures its own recall."""

    items_per_benchmark: int = Field(20, ge=1, le=100_000, description="Items of each benchmark.")
    pages: int = Field(20, ge=1, le=1_000, description="Real pages of the corpus to plant in.")
    min_page_chars: int = Field(2_000, ge=1, description="Least length of such a page.")


@dataclass(frozen=True)
class Plant:
    """A text with an item in it."""

    item: Item
    dress: str
    text: str
    is_short: bool


def plant(items: Sequence[Item], pages: Sequence[str], told: frozenset[str]) -> Iterator[Plant]:
    """Every dress of every item; a question not `told` by itself comes with companions."""
    for i, item in enumerate(items):
        page = pages[i % len(pages)] if pages else ""
        short = bool(item.question) and item.question not in told
        shown = _shown(item, short)
        if shown:
            for dress, put_on in DRESSES.items():
                yield Plant(item, dress, put_on(shown), short)
            yield Plant(item, "embedded", _embed(page, reformatted(shown)), short)
        program = renamed(item.code) if item.code else None
        if item.code:
            yield Plant(item, "program_verbatim", item.code, False)
        if program is not None:
            yield Plant(item, "program_renamed", program, False)
            fenced = f"```python\n{program}\n```"
            yield Plant(item, "program_renamed_embedded", _embed(page, fenced), False)


def _shown(item: Item, short: bool) -> list[str]:
    """The lines of an item as somebody would copy it: the question alone where that is enough."""
    first = [item.alone[0][1]] if item.alone else []
    if not item.question:
        return first
    if not short:
        return [item.question]
    context = [text for part, text in item.alone if part == "context"]
    return ["\n".join([*context, item.question]), *(item.choices or item.answers[:1])]


def verbatim(lines: Sequence[str]) -> str:
    """As they are, choices with letters."""
    head, *rest = lines
    return "\n".join([head, *(f"{letter}. {c}" for letter, c in zip(_LETTERS, rest, strict=False))])


def reformatted(lines: Sequence[str]) -> str:
    """Quoted Markdown: narrow lines, emphasis, bullets."""
    head, *rest = lines
    wrapped = textwrap.wrap(head, 34, break_long_words=False, break_on_hyphens=False) or [head]
    body = [f">   **{wrapped[0]}**", *(f">     _{line}_" for line in wrapped[1:])]
    return "\n".join(["## Exercise", "", *body, "", *(f"  * `{c}`" for c in rest), ""])


def changed_case(lines: Sequence[str]) -> str:
    """In capitals."""
    return verbatim(lines).upper()


def typographic(lines: Sequence[str]) -> str:
    """Quotes, dashes, dots and spaces as a word processor sets them."""
    text, opened, out = verbatim(lines), False, []
    for char in text:
        if char == '"':
            opened = not opened
        out.append({'"': "\u201c" if opened else "\u201d", "'": "\u2019", "-": "\u2011",
                    " ": "\u00a0"}.get(char, char))  # fmt: skip
    return "".join(out).replace("...", "\u2026")


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DRESSES: dict[str, Callable[[Sequence[str]], str]] = {
    "verbatim": verbatim,
    "reformatted": reformatted,
    "changed_case": changed_case,
    "typographic_quotes": typographic,
}


def _embed(page: str, text: str) -> str:
    """Between two lines near the middle of a page."""
    at = page.find("\n", len(page) // 2) + 1 or len(page)
    return f"{page[:at]}\n{text}\n{page[at:]}"


def choose(items: Sequence[Item], per_benchmark: int, rng: np.random.Generator) -> list[Item]:
    """A sample of every benchmark's items, in the items' order."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        places[item.benchmark].append(i)
    chosen = [
        i for all_of in places.values()
        for i in rng.choice(all_of, min(per_benchmark, len(all_of)), replace=False).tolist()
    ]  # fmt: skip
    return [items[i] for i in sorted(chosen)]


def measure_recall(
    search: LeakSearch, pages: Sequence[str], config: PlantedConfig, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """One row for each benchmark and dress: planted, found, recall and its 95 % interval.

    Items that are not searched for count as missed; `searched` says how many are.
    """
    import pyarrow as pa

    chosen = choose(search.items, config.items_per_benchmark, rng)
    is_searched = {
        (item.benchmark, item.name): bool(s)
        for item, s in zip(search.items, search.searched, strict=True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        plants = list(plant(chosen, pages, search.words.told))
    texts = pa.array(
        [p.text.encode("utf-8", "replace").decode() for p in plants], pa.large_string()
    )
    rows = search.find(texts, [str(i) for i in range(len(plants))])
    found = {(int(row["doc_id"]), row["benchmark"], row["item"]) for row in rows}
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for i, p in enumerate(plants):
        dress = f"{p.dress}_short" if p.is_short else p.dress
        count = counts[p.item.benchmark, dress]
        count[0] += 1
        count[1] += is_searched[p.item.benchmark, p.item.name]
        count[2] += (i, p.item.benchmark, p.item.name) in found
    return [
        {"benchmark": benchmark, "dress": dress, **recall_row(planted, searched, hit)}
        for (benchmark, dress), (planted, searched, hit) in counts.items()
    ]


def recall_row(planted: int, searched: int, found: int) -> dict[str, Any]:
    """The counts, the share found, and its interval."""
    low, high = wilson(found, planted)
    return {
        "planted": planted, "searched": searched, "found": found,
        "recall": found / planted, "low": low, "high": high,
    }  # fmt: skip


def wilson(found: int, planted: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    share, z2 = found / planted, Z_95**2
    centre = share + z2 / (2 * planted)
    half = Z_95 * math.sqrt(share * (1 - share) / planted + z2 / (4 * planted**2))
    scale = 1 + z2 / planted
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def by_dress(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all benchmarks together, by dress."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        for k, name in enumerate(("planted", "searched", "found")):
            sums[row["dress"]][k] += row[name]
    return [{"dress": dress, **recall_row(*count)} for dress, count in sums.items()]
