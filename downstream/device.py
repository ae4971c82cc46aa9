"""A GGUF file as a device would run it: in a fresh process, without mmap, on stated threads.

    python -m downstream.device quality MODEL VALIDATION --tokens N --bytes N --threads N
    python -m downstream.device speed MODEL --prompt N --decode N --threads N

prints one JSON object. A process of its own gives each model its own peak memory, and lets the
repetitions of all models be interleaved. Tokens are fed through llama-cpp-python; its Python costs
about 0.1 ms a decoded token, which counts for models as small as the demo's.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


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


def measure_quality(
    model: Path, validation: Path, context_tokens: int, max_bytes: int, threads: int
) -> list[dict[str, Any]]:
    """For each held-out document, the nats that the model needs for its tokens.

    Every window of `context_tokens` starts from the token before it, the first from the end of
    text; a document in which `max_bytes` runs out is left out whole.
    """
    from downstream.export import log_softmax
    from pipeline.records import read_rows

    rows, taken = [], 0
    with opened(model, context_tokens, threads, all_logits=True) as llama:
        end = llama.token_eos()
        for row in read_rows([validation]):
            if taken + row["n_bytes"] > max_bytes:
                continue
            taken += row["n_bytes"]
            tokens, nats = [end, *row["tokens"]], 0.0
            for begin in range(0, len(tokens) - 1, context_tokens):
                window = tokens[begin : begin + context_tokens + 1]
                llama.reset()
                llama.eval(window[:-1])
                told = log_softmax(llama.scores[: len(window) - 1].astype(np.float64))
                nats -= float(told[np.arange(len(window) - 1), window[1:]].sum())
            rows.append(
                {
                    "doc_id": row["doc_id"],
                    "kind": row["kind"],
                    "keep": row["keep"],
                    "n_bytes": row["n_bytes"],
                    "scored_tokens": len(tokens) - 1,
                    "nats": nats,
                }
            )
    return rows


def measure_speed(model: Path, prompt: int, decode: int, threads: int) -> dict[str, float]:
    """Load time, prefill and decode speed and peak memory, once, after a warm-up."""
    import llama_cpp  # noqa: F401  # loaded before the baseline: its code is not the model's memory

    baseline_mib = _memory_mib("VmRSS")
    began = time.perf_counter()
    with opened(model, prompt + decode, threads, all_logits=False) as llama:
        load_s = time.perf_counter() - began
        tokens = [(7 * i + 300) % llama.n_vocab() for i in range(prompt + decode)]
        llama.eval(tokens[: max(2, prompt // 4)])
        llama.reset()
        began = time.perf_counter()
        llama.eval(tokens[:prompt])
        prefill_s = time.perf_counter() - began
        began = time.perf_counter()
        for token in tokens[prompt:]:
            llama.eval([token])
        decode_s = time.perf_counter() - began
        peak_mib = _memory_mib("VmHWM")
    return {
        "load_s": load_s,
        "prefill_tokens_per_s": prompt / prefill_s,
        "decode_tokens_per_s": decode / decode_s,
        "peak_mem_mib": peak_mib - baseline_mib,
        "interpreter_mib": baseline_mib,
    }


def _memory_mib(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def system_info() -> str:
    """What llama.cpp was built for and finds here."""
    import llama_cpp

    silence()
    info: bytes = llama_cpp.llama_print_system_info()
    return info.decode().strip()


def main(arguments: list[str]) -> None:
    """The command that the evaluation starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["quality", "speed"])
    parser.add_argument("model", type=Path)
    parser.add_argument("validation", type=Path, nargs="?")
    for name in ("tokens", "bytes", "prompt", "decode", "threads"):
        parser.add_argument(f"--{name}", type=int, default=1)
    given = parser.parse_args(arguments)
    measured: Any = (
        measure_quality(given.model, given.validation, given.tokens, given.bytes, given.threads)
        if given.what == "quality"
        else measure_speed(given.model, given.prompt, given.decode, given.threads)
    )
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1:])
