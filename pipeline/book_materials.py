"""Which extracts make a book: those of one group of documents, or neighbours of small groups.

A book needs several materials that have something to do with each other. The extracts of one
repository or package do; what is left of groups too small for a book is joined in the order of
their names, which puts the modules of a package side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, pairwise

from pipeline.extracts import Extract
from pipeline.splits import place_of


def gather_materials(
    extracts: Iterable[Extract], fewest: int, most: int, seed: int
) -> list[tuple[Extract, ...]]:
    """Shelves of `fewest` to `most` extracts, in a seeded order; no extract stands on two.

    Within a shelf the order is that of the group's name and of the extracts as they were given.
    """
    shelves: list[tuple[Extract, ...]] = []
    left: list[Extract] = []
    for _, members in groupby(sorted(extracts, key=lambda one: one.group), lambda one: one.group):
        mine = list(members)
        if len(mine) < fewest:
            left += mine
        else:
            shelves += _parts(mine, most)
    if len(left) >= fewest:
        shelves += _parts(left, most)
    return sorted(shelves, key=lambda shelf: place_of(_name_of(shelf), seed, "book"))


def _parts(extracts: list[Extract], most: int) -> list[tuple[Extract, ...]]:
    """As few runs as the most allows, of about equal lengths."""
    runs = -(-len(extracts) // most)
    ends = [len(extracts) * i // runs for i in range(runs + 1)]
    return [tuple(extracts[a:b]) for a, b in pairwise(ends)]


def _name_of(shelf: tuple[Extract, ...]) -> str:
    return "\x00".join(one.doc_id + one.topic for one in shelf)
