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
    _, offsets, content = wide.buffers()
    # Arrow may leave out the offsets of no strings. All arrays are read-only, so that numba
    # compiles a loop over them once.
    starts = np.frombuffer(offsets or bytes(8), np.int64, len(wide) + 1, wide.offset * 8)
    return np.frombuffer(content or b"", np.uint8), starts
