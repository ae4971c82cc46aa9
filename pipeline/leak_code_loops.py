"""The compiled loop of the search by structure: every run of a document's tokens is looked up."""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled
from pipeline.leak_loops import look_up
from pipeline.leak_tokens import read_tokens, token_run_hash


@compiled
def search_programs(
    data: Any, offsets: Any, kept: Any, keys: Any, slots: Any, bitmap: Any, ends: Any, owners: Any,
    needed: Any, run: int, found: Any,
) -> int:  # fmt: skip
    """Write (document, item, fingerprints shared, first byte, last byte) where enough are.

    `found` is int64[room, 5]; bytes are counted from the document's first.
    Returns how many there are, which may be more than the room.
    """
    longest = 0
    for d in range(len(offsets) - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    size = 4
    while size < 2 * longest + 2:
        size *= 2
    codes, back = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.int32)
    places = np.empty(longest + 1, np.int64)
    names, last_at = np.empty(size, np.uint64), np.empty(size, np.int32)
    marks = np.zeros(size, np.int32)
    seen, counts = np.zeros(len(keys), np.int32), np.zeros(len(needed), np.int32)
    touched, spans = np.empty(len(needed), np.int32), np.empty((len(needed), 2), np.int64)
    n = 0
    for d in range(len(offsets) - 1):
        tokens = read_tokens(
            data, offsets[d], offsets[d + 1], kept, codes, back, places, names, last_at, marks,
            d + 1,
        )  # fmt: skip
        many = 0
        for i in range(tokens - run + 1):
            key = look_up(token_run_hash(codes, back, i, run), keys, slots, bitmap)
            if key < 0 or seen[key] == d + 1:
                continue
            seen[key] = d + 1
            for entry in range(ends[key], ends[key + 1]):
                item = owners[entry]
                if counts[item] == 0:
                    touched[many] = item
                    many += 1
                    spans[item, 0] = places[i] - offsets[d]
                spans[item, 1] = places[i + run - 1] - offsets[d]
                counts[item] += 1
        for k in range(many):
            item = touched[k]
            if counts[item] >= needed[item]:
                if n < len(found):
                    found[n, 0], found[n, 1], found[n, 2] = d, item, counts[item]
                    found[n, 3], found[n, 4] = spans[item, 0], spans[item, 1]
                n += 1
            counts[item] = 0
    return n
