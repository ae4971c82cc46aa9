"""Arrow's strings as the bytes and offsets that they are, for loops compiled to machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """numba's machine code for this function, kept on disk, and free of Python's lock."""
    return cast(F, njit(cache=True, nogil=True)(function))


def text_buffers(
    texts: pa.Array | pa.ChunkedArray,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes and the int64[N + 1] offsets of N strings, without copying the text.

    Slices, nulls (read as empty), dictionaries and both widths of offsets are fine; only chunks
    are joined, which copies.
    """
    if isinstance(texts, pa.ChunkedArray):
        chunks = [chunk.cast(pa.large_string()) for chunk in texts.chunks]
        texts = pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_string())
    wide = texts.cast(pa.large_string())
    if wide.null_count:
        wide = wide.fill_null("")
    if len(wide) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, content = wide.buffers()
    starts = np.frombuffer(offsets, np.int64, len(wide) + 1, wide.offset * 8)
    return np.frombuffer(content or b"", np.uint8), starts


def fnv(word: str) -> int:
    """FNV-1a of a word's bytes, 32 bits, as the compiled loops work it out.

    Upper and lower case fall together: `| 32` costs one instruction, and the few other bytes that
    it merges do no harm to a hash.
    """
    hashed = 0x811C9DC5
    for byte in word.encode():
        hashed = ((hashed ^ (byte | 32)) * 0x01000193) & 0xFFFFFFFF
    return hashed
