"""How much of decoding goes into products of matrices and vectors.

    python -m downstream.cost_share MODEL --threads 2 --depth 64 --decode 8

prints one JSON object. llama.cpp calls back around any operation it is asked to stop at; one pass
learns the order of operations, and the measured passes stop only where a run of products ends and
a run of others begins, so that clocks and Python stand between few of them.

What this distorts: at each stop the threads join, which lengthens short runs; `slowdown` says by
how much the whole was lengthened against undisturbed decoding. In small models the lengthening
falls mostly on the short operations that are no products, so the share is a lower bound there.
Attention's own products with the cache are counted apart, as `attention_share`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from downstream.llama_session import Session, name_node, some_tokens
from downstream.machine import pin_threads

PRODUCT, ATTENTION, OTHER, NOTHING = "product", "attention", "other", "nothing"
ROUNDS = 4
_VIEWS = {"NONE", "RESHAPE", "VIEW", "PERMUTE", "TRANSPOSE"}  # they compute nothing


class Stopwatch:
    """Seconds by kind of operation, as llama.cpp's callback sees them."""

    def __init__(self) -> None:
        self.kinds: list[str] = []  # of every node, in the order of computing
        self.seconds: list[dict[str, float]] = []  # of every token, by kind
        self._stops: list[bool] = []
        self._learning, self._node, self._last = True, 0, 0.0

    def on_node(self, tensor: int, asking: bool, _: Any) -> bool:
        """Asked before a node whether to stop after it; told when it has been computed."""
        if self._learning:
            if asking:
                self.kinds.append(kind_of(*name_node(tensor)))
            return not asking
        if asking:
            stop = self._stops[self._node]
            self._node += 1
            return stop
        now = time.perf_counter()
        self.seconds[-1][self.kinds[self._node - 1]] += now - self._last
        self._last = time.perf_counter()
        return True

    def learn(self) -> None:
        """From now on stop only where the kind changes."""
        real = [i for i, kind in enumerate(self.kinds) if kind != NOTHING]
        ends = {
            i
            for i, following in zip(real, [*real[1:], -1], strict=True)
            if following < 0 or self.kinds[i] != self.kinds[following]
        }
        self._stops = [i in ends for i in range(len(self.kinds))]
        self._learning = False

    def start(self) -> None:
        """A token begins."""
        self.seconds.append(dict.fromkeys((PRODUCT, ATTENTION, OTHER), 0.0))
        self._node, self._last = 0, time.perf_counter()


def kind_of(operation: str, name: str) -> str:
    """What a node of the graph is: a product with weights, attention, another, or a mere view."""
    if operation in _VIEWS:
        return NOTHING
    if operation == "FLASH_ATTN_EXT" or (operation == "MUL_MAT" and name.startswith("kq")):
        return ATTENTION
    return PRODUCT if operation in {"MUL_MAT", "MUL_MAT_ID"} else OTHER


def measure_share(model: Path, depth: int, decode: int, threads: int) -> dict[str, float]:
    """Shares of decode time, and milliseconds a token in products."""
    import llama_cpp

    pin_threads(threads)
    watch = Stopwatch()
    callback = llama_cpp.ggml_backend_sched_eval_callback(watch.on_node)
    context = depth + 1 + ROUNDS * decode
    with (
        Session(model, context, threads) as plain,
        Session(model, context, threads, callback) as watched,
    ):
        tokens = some_tokens(context, plain.vocabulary)
        for session in (plain, watched):
            session.open_context()
            session.feed(tokens[:depth])
        watch.kinds.clear()  # those of reading the prompt
        plain.decode(tokens[:1])
        watched.decode(tokens[:1])
        watch.learn()
        undisturbed_s, watched_s = [], []
        for _ in range(ROUNDS):  # in turn, so that a neighbour's load falls on both
            for token in tokens[:decode]:
                undisturbed_s.append(plain.decode([token]))
                watch.start()
                watched_s.append(watched.decode([token]))
    middle_s = {
        kind: statistics.median(of_token[kind] for of_token in watch.seconds)
        for kind in (PRODUCT, ATTENTION, OTHER)
    }
    whole_s = sum(middle_s.values())
    return {
        "depth_tokens": depth,
        "product_share": round(middle_s[PRODUCT] / whole_s, 4),
        "attention_share": round(middle_s[ATTENTION] / whole_s, 4),
        "product_ms_per_token": round(1e3 * middle_s[PRODUCT], 5),
        "slowdown": round(statistics.median(watched_s) / statistics.median(undisturbed_s), 3),
    }


def main(arguments: list[str]) -> None:
    """The command that `downstream.measuring` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--depth", type=int, default=64)
    parser.add_argument("--decode", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    found = measure_share(given.model, given.depth, given.decode, given.threads)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
