"""Where a model's memory goes at a context length: weights, KV cache, and the rest.

    python -m downstream.cost_memory MODEL --context 32000 --threads 2

prints one JSON object. What is resident is read before loading, after it, after the context is
made (llama.cpp writes zeros over the whole cache then, so that all of it is resident) and after
the work, with mmap off. The rest is what a prompt of 512 tokens and decoding after it touch:
buffers of operations and of logits. Beside it stands what one can compute: a token takes

    2 x layers x KV heads x head size x 2 bytes

of the cache; llama.cpp keeps about 50 bytes of bookkeeping beside, and about 3 MiB for the graph,
which count as measured cache too. It rounds the context up to a multiple of 256.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downstream.llama_session import Session, some_tokens
from downstream.machine import available_mib, memory_mib

_PROMPT_TOKENS = 512
_DECODED_TOKENS = 4
_MIB = 2**20


@dataclass(frozen=True)
class Architecture:
    """What a GGUF file says of its model's shape."""

    name: str
    layers: int
    kv_heads: int
    key_width: int  # of a head
    value_width: int
    context_tokens: int
    vocabulary: int
    weights: int
    weight_bytes: int
    read_bytes_per_token: int  # weights that a decoded token reads: all but the looked-up rows
    tensors: tuple[tuple[str, int], ...]  # how many really have each type

    @property
    def kv_bytes_per_token(self) -> int:
        """Two bytes a number: llama.cpp keeps the cache at F16."""
        return 2 * self.layers * self.kv_heads * (self.key_width + self.value_width)


def read_architecture(path: Path) -> Architecture:
    """Read the header of a GGUF file, once while the file stays as it is."""
    seen = path.stat()
    return _read_architecture(path, seen.st_mtime_ns, seen.st_size)


@functools.lru_cache(maxsize=256)  # a vocabulary of 50,000 takes most of a second to parse
def _read_architecture(path: Path, _mtime_ns: int, _size: int) -> Architecture:
    from gguf import GGUFReader

    reader = GGUFReader(path)

    def field(name: str, default: Any = None) -> Any:
        found = reader.get_field(name)
        return default if found is None else found.contents()

    arch = str(field("general.architecture"))
    heads = _widest(field(f"{arch}.attention.head_count", 1))
    head = field(f"{arch}.embedding_length", 0) // heads
    sizes = {t.name: (int(t.n_elements), int(t.n_bytes)) for t in reader.tensors}
    total = sum(size for _, size in sizes.values())
    tied = "output.weight" not in sizes  # then the embedding is read whole, as the last matrix
    looked_up = 0 if tied else sizes.get("token_embd.weight", (0, 0))[1]
    embedding = next((t for t in reader.tensors if t.name == "token_embd.weight"), None)
    return Architecture(
        arch,
        int(field(f"{arch}.block_count", 0)),
        _widest(field(f"{arch}.attention.head_count_kv", heads)),
        int(field(f"{arch}.attention.key_length", head)),
        int(field(f"{arch}.attention.value_length", head)),
        int(field(f"{arch}.context_length", 0)),
        int(embedding.shape[-1]) if embedding is not None else 0,
        sum(count for count, _ in sizes.values()),
        total,
        total - looked_up,
        tuple(sorted(Counter(t.tensor_type.name for t in reader.tensors).items())),
    )


def _widest(value: Any) -> int:
    """Some models give a list, one number a layer."""
    return max(value) if isinstance(value, list) else int(value)


def measure_memory(model: Path, context_tokens: int, threads: int) -> dict[str, Any]:
    """MiB of weights, cache and rest at this context, measured, and the cache as computed.

    What is measured is null where weights and cache do not fit into nine tenths of free memory.
    """
    shape = read_architecture(model)
    weights_mib = shape.weight_bytes / _MIB
    computed_mib = shape.kv_bytes_per_token * context_tokens / _MIB
    measured: dict[str, float | None] = dict.fromkeys(
        ("weights_mib", "kv_cache_mib", "rest_mib", "kv_share")
    )
    if weights_mib + computed_mib < 0.9 * available_mib():
        measured.update(_measure(model, context_tokens, threads))
    return {
        "context_tokens": context_tokens,
        "kv_cache_computed_mib": round(computed_mib, 3),
        "kv_share_computed": round(computed_mib / (weights_mib + computed_mib), 4),
        **measured,
    }


def _measure(model: Path, context_tokens: int, threads: int) -> dict[str, float]:
    import llama_cpp  # noqa: F401  # its code is not the model's memory
    import numpy as np  # noqa: F401  # likewise

    baseline_mib = memory_mib("VmRSS")
    with Session(model, context_tokens, threads) as session:
        loaded_mib = memory_mib("VmRSS")
        session.open_context()
        made_mib = memory_mib("VmRSS")
        used = max(1, min(_PROMPT_TOKENS, context_tokens - _DECODED_TOKENS))
        tokens = some_tokens(used + _DECODED_TOKENS, session.vocabulary)
        session.feed(tokens[:used])
        session.decode(tokens[used : min(used + _DECODED_TOKENS, context_tokens)])
        peak_mib = max(memory_mib("VmRSS"), made_mib)
    weights, cache = loaded_mib - baseline_mib, made_mib - loaded_mib
    rest = peak_mib - made_mib
    return {
        "weights_mib": round(weights, 3),
        "kv_cache_mib": round(cache, 3),
        "rest_mib": round(rest, 3),
        "kv_share": round(cache / (weights + cache + rest), 4),
    }


def main(arguments: list[str]) -> None:
    """The command that `downstream.measuring` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    sys.stdout.write(json.dumps(measure_memory(given.model, given.context, given.threads)))


if __name__ == "__main__":
    main(sys.argv[1:])
