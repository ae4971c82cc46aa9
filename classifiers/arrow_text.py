"""Arrow's strings as the bytes and offsets that they are, for loops compiled to machine code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import config, njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """numba's machine code for this function, kept on disk, and free of Python's lock."""
    if "NUMBA_CACHE_DIR" not in os.environ:
        config.CACHE_DIR = _cache_of(Path(function.__code__.co_filename).parent)
    return cast(F, njit(cache=True, nogil=True)(function))


@cache
def _cache_of(directory: Path) -> str:
    """Where the code of a directory's loops is kept; numba's own choice ("") if nowhere else.

    numba looks at the file of a function alone, and would go on with old code of what that file
    imports (its documentation, "Limitations" of caching). So the place is named by the content of
    every file with compiled loops that may be imported.
    """
    digest = hashlib.sha256()
    for folder in sorted({Path(__file__).parent, directory}):
        for path in sorted(folder.glob("*.py")):
            source = path.read_bytes()
            if b"arrow_text import" in source or b"from numba" in source:
                digest.update(path.name.encode() + b"\x00" + source)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = home / "primer" / f"numba-{digest.hexdigest()[:16]}"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(place) if os.access(place, os.W_OK) else ""


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
