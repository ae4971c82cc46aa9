"""Structural numbers of code and prose, in one compiled pass over Arrow's own bytes.

Textbook quality shows in form before it shows in words: explained code has comments, docstrings
and short lines; boilerplate repeats lines, lists links, is all digits and brackets. Each document
is read once, byte by byte, by a loop that numba compiles: no regular expression, no Python object
per document. The pass keeps a histogram of bytes (from which all character shares follow), the
state of the current line and of the current word.

What it costs: 2 to 3 s to compile on a machine's first use (cached beside this file, or in the
user's cache where that is read-only), then some 200 MB/s on one core. docs/filter.md says what
each family of numbers brings.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit
from sklearn.base import BaseEstimator, TransformerMixin

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]


def text_buffers(texts: pa.Array | pa.ChunkedArray) -> tuple[Bytes, Offsets]:
    """The bytes and the int64[N + 1] offsets of an array of strings, without copying its text.

    Slices, nulls (read as empty), dictionaries and both widths of offsets are fine.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = pa.concat_arrays([c.cast(pa.large_string()) for c in texts.chunks] or
                                 [pa.array([], pa.large_string())])
    wide = texts.cast(pa.large_string())
    if wide.null_count:
        wide = wide.fill_null("")
    if len(wide) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, content = wide.buffers()
    starts = np.frombuffer(offsets, np.int64, len(wide) + 1, wide.offset * 8)
    return np.frombuffer(content or b"", np.uint8), starts
