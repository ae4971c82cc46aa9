"""llama.cpp without Python in its way: load a file, feed tokens, wait for the end.

What llama.cpp's own `llama-bench` does, call for call, through the low-level functions of
llama-cpp-python: one `llama_decode` a batch, a thread pool that lives as long as the context, no
sampling, logits of the last token alone. A decoded token costs about 5 microseconds of Python.
Source: tools/llama-bench/llama-bench.cpp of https://github.com/ggml-org/llama.cpp
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.errors import StageError

BATCH_TOKENS = 2_048  # llama.cpp's own default, and llama-bench's
_MAX_CPUS = 512  # GGML_MAX_N_THREADS


class _PoolParameters(ctypes.Structure):
    """`ggml_threadpool_params` of ggml.h."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * _MAX_CPUS),
        ("n_threads", ctypes.c_int),
        ("priority", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


class Session:
    """One loaded model with one context; a context manager."""

    def __init__(self, path: Path, context_tokens: int, threads: int, on_node: Any = None) -> None:
        """Load. `on_node` is a ggml_backend_sched_eval_callback, called around every operation."""
        import llama_cpp

        from downstream.device import silence

        silence()
        self.path, self.context_tokens, self.threads = path, context_tokens, threads
        began = time.perf_counter()
        wanted = llama_cpp.llama_model_default_params()
        wanted.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE  # all of it in memory of our own
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), wanted)
        if not self.model:
            raise StageError(
                "evaluate", f"llama.cpp cannot load {path}", "give a GGUF file that is whole"
            )
        self.load_s = time.perf_counter() - began
        self.context: Any = None
        self._pool: Any = None
        self._on_node = on_node  # kept: llama.cpp holds a bare pointer to it
        self._tokens = (llama_cpp.llama_token * max(context_tokens, 1))()

    def open_context(self) -> Session:
        """Make the context with its KV cache, and the threads."""
        import llama_cpp

        wanted = llama_cpp.llama_context_default_params()
        wanted.n_ctx = self.context_tokens
        wanted.n_batch = BATCH_TOKENS
        wanted.n_threads = wanted.n_threads_batch = self.threads
        if self._on_node is not None:
            wanted.cb_eval = self._on_node
        self.context = llama_cpp.llama_init_from_model(self.model, wanted)
        if not self.context:
            raise StageError(
                "evaluate",
                f"llama.cpp makes no context of {self.context_tokens} tokens for {self.path}",
                "see that memory suffices, or measure a shorter context",
            )
        base, cpu = _ggml()
        parameters = base.ggml_threadpool_params_default(self.threads)
        self._pool = cpu.ggml_threadpool_new(ctypes.byref(parameters))
        llama_cpp.llama_cpp._lib.llama_attach_threadpool(
            ctypes.c_void_p(self.context), ctypes.c_void_p(self._pool), None
        )
        return self

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        import llama_cpp

        return int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model)))

    def clear(self) -> None:
        """Forget every token."""
        import llama_cpp

        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), False)

    def feed(self, tokens: Sequence[int]) -> float:
        """Let the model read tokens after those before; seconds until the last is understood."""
        import llama_cpp

        began = time.perf_counter()
        for begin in range(0, len(tokens), BATCH_TOKENS):
            some = tokens[begin : begin + BATCH_TOKENS]
            self._tokens[: len(some)] = some
            self._decode(llama_cpp.llama_batch_get_one(self._tokens, len(some)))
        llama_cpp.llama_synchronize(self.context)
        return time.perf_counter() - began

    def decode(self, tokens: Sequence[int]) -> float:
        """Feed tokens one by one, as generating does; seconds for all."""
        import llama_cpp

        batch = llama_cpp.llama_batch_get_one(self._tokens, 1)
        began = time.perf_counter()
        for token in tokens:
            self._tokens[0] = token
            self._decode(batch)
            llama_cpp.llama_synchronize(self.context)
        return time.perf_counter() - began

    def likeliest(self) -> int:
        """The token that the last logits put first."""
        import llama_cpp
        import numpy as np

        logits = llama_cpp.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())

    def _decode(self, batch: Any) -> None:
        import llama_cpp

        code = llama_cpp.llama_decode(self.context, batch)
        if code:
            raise StageError(
                "evaluate", f"llama.cpp stopped reading {self.path} (code {code})",
                "see that memory suffices, or measure a shorter context",
            )  # fmt: skip

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        import llama_cpp

        if self.context:
            llama_cpp.llama_free(self.context)
        if self._pool:
            _ggml()[1].ggml_threadpool_free(ctypes.c_void_p(self._pool))
        llama_cpp.llama_model_free(self.model)


@functools.cache
def _ggml() -> tuple[Any, Any]:
    """ggml's base and processor libraries, which llama-cpp-python has loaded already."""
    import llama_cpp

    folder = Path(llama_cpp.__file__).parent / "lib"
    base = ctypes.CDLL(str(folder / "libggml-base.so"))
    cpu = ctypes.CDLL(str(folder / "libggml-cpu.so"))
    base.ggml_threadpool_params_default.argtypes = [ctypes.c_int]
    base.ggml_threadpool_params_default.restype = _PoolParameters
    base.ggml_op_desc.argtypes, base.ggml_op_desc.restype = [ctypes.c_void_p], ctypes.c_char_p
    base.ggml_get_name.argtypes, base.ggml_get_name.restype = [ctypes.c_void_p], ctypes.c_char_p
    base.ggml_version.restype = base.ggml_commit.restype = ctypes.c_char_p
    cpu.ggml_threadpool_new.restype = ctypes.c_void_p
    cpu.ggml_threadpool_free.argtypes = [ctypes.c_void_p]
    return base, cpu


def name_node(tensor: int) -> tuple[str, str]:
    """Operation and name of a node of the graph, as `on_node` is given it."""
    base = _ggml()[0]
    return base.ggml_op_desc(tensor).decode(), base.ggml_get_name(tensor).decode()


def ggml_build() -> str:
    """Version and commit of ggml."""
    base = _ggml()[0]
    return f"ggml {base.ggml_version().decode()} ({base.ggml_commit().decode()})"


def some_tokens(count: int, vocabulary: int) -> list[int]:
    """Token ids that differ from their neighbours; which, speed does not depend on."""
    return [(7_919 * i + 31) % vocabulary for i in range(count)]
