"""llama.cpp through llama-cpp-python, as the other pages use it: quiet, closed, and named."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@functools.cache
def _mute() -> Any:
    import llama_cpp

    return llama_cpp.llama_log_callback(lambda level, text, data: None)


def silence() -> None:
    """Stop llama.cpp's log, which goes to standard error whatever one asks."""
    import llama_cpp

    llama_cpp.llama_log_set(_mute(), ctypes.c_void_p())


@contextmanager
def opened(path: Path, context_tokens: int, threads: int, all_logits: bool) -> Iterator[Any]:
    """A loaded `llama_cpp.Llama`, closed afterwards."""
    import llama_cpp

    silence()
    llama = llama_cpp.Llama(
        str(path), n_ctx=context_tokens, n_batch=context_tokens, n_threads=threads,
        n_threads_batch=threads, logits_all=all_logits, use_mmap=False, verbose=False,
    )  # fmt: skip
    try:
        yield llama
    finally:
        llama.close()


def system_info() -> str:
    """What llama.cpp was built for and finds here."""
    import llama_cpp

    silence()
    info: bytes = llama_cpp.llama_print_system_info()
    return info.decode().strip()
