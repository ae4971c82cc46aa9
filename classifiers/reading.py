"""One reading of a batch of texts: counted, and their words pooled or listed.

Finding the words costs most of a reading, and both the structural numbers and the embedding need
them; so there is one compiled loop over documents, and each caller asks it for what it wants.
docs/filter.md says what it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from classifiers.arrow_text import compiled, text_buffers
from classifiers.counting import MARGIN, REMEMBERED_LINES, read_document
from classifiers.tally import COLUMNS

Floats = npt.NDArray[np.float32]

_VECTOR_FLOATS = 16  # rows are padded to whole vectors, so that no loop has a remainder
_SHORTEST = np.float32(1e-20)  # a text without words is zero, not undefined
NO_ROWS = np.zeros((1, 0), np.float32)


@dataclass(frozen=True)
class Reading:
    """What N texts gave."""

    tallies: npt.NDArray[np.int64]  # [N, COLUMNS]
    sums: Floats  # [N, width of the rows]: over each text's distinct words
    buckets: npt.NDArray[np.int32]  # the distinct words of one text after another
    ends: npt.NDArray[np.int64]  # [N + 1]: where each text's buckets begin and end


def read_texts(texts: pa.Array, rows: Floats = NO_ROWS, list_words: bool = False) -> Reading:
    """Count N texts, and sum up `rows` float32[buckets, width] over each one's distinct words."""
    data, offsets = text_buffers(texts)
    room = int(np.minimum(np.diff(offsets) // 2 + 1, len(rows)).sum()) if list_words else 0
    reading = Reading(
        np.zeros((len(texts), COLUMNS), np.int64),
        np.zeros((len(texts), rows.shape[1]), np.float32),
        np.zeros(room, np.int32),
        np.zeros(len(texts) + 1, np.int64),
    )
    _read(data, offsets, rows, reading.tallies, reading.sums, reading.buckets, reading.ends)
    return reading


def weighted_rows(idf: Floats, table: Floats) -> Floats:
    """float32[buckets, padded]: idf**2, then idf times the table: what a word adds to its text."""
    width = -(-(1 + table.shape[1]) // _VECTOR_FLOATS) * _VECTOR_FLOATS
    rows = np.zeros((len(idf), width), np.float32)
    rows[:, 0] = idf * idf
    rows[:, 1 : 1 + table.shape[1]] = idf[:, None] * table
    return rows


def pooled(sums: Floats, axes: int) -> Floats:
    """float32[N, axes]: the sums over `weighted_rows`, each bag of words at unit length."""
    lengths = np.maximum(np.sqrt(sums[:, :1]), _SHORTEST)
    return (sums[:, 1 : 1 + axes] / lengths).astype(np.float32, copy=False)


@compiled
def _read(
    data: Any, offsets: Any, rows: Any, tallies: Any, sums: Any, buckets: Any, ends: Any
) -> None:
    """Fill the arrays of a Reading; `buckets` may have no room, and then stays empty."""
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    text = np.full(longest + 4 * MARGIN, 10, np.uint8)
    hashes, found = np.empty(longest // 2 + 2, np.uint32), np.empty(longest // 2 + 2, np.int32)
    lines, seen = np.zeros(REMEMBERED_LINES, np.uint64), np.zeros(len(rows), np.uint32)
    for document in range(len(offsets) - 1):
        start, end, mark = offsets[document], offsets[document + 1], document + 1
        text[MARGIN : MARGIN + end - start] = data[start:end]
        text[MARGIN + end - start : 3 * MARGIN + end - start] = 10
        words = read_document(text, end - start, mark, hashes, lines, tallies[document])
        distinct = _distinct(hashes, words, seen, mark, found)
        summed = sums[document]
        for k in range(distinct):
            row = rows[found[k]]
            for axis in range(len(summed)):
                summed[axis] += row[axis]
        if len(buckets):
            ends[document + 1] = ends[document] + distinct
            buckets[ends[document] : ends[document + 1]] = found[:distinct]


@compiled
def _distinct(hashes: Any, count: int, seen: Any, mark: int, found: Any) -> int:
    """Write the buckets of `count` words to `found`, each once, and return how many.

    `seen` is uint32[buckets]: the mark of the last document in which a bucket was met.
    """
    buckets, distinct = np.uint64(len(seen)), 0
    for k in range(count):
        # Lemire, "Fast Random Integer Generation in an Interval" (2019): no division
        bucket = np.int64((np.uint64(hashes[k]) * buckets) >> np.uint64(32))
        found[distinct] = bucket
        distinct += seen[bucket] != mark
        seen[bucket] = mark
    return distinct
