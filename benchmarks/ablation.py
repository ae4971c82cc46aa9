"""Which arm is better, without a GPU: counted n-grams of equal tokens, on what no arm has seen.

    python -m downstream.ablation_pack runs/ablation --part test
    python -m benchmarks.ablation [--quick] [--json FILE] [--pack runs/ablation-pack/pack.tar.xz]

A model of token 4-grams with interpolated absolute discounting (Ney, Essen and Kneser 1994,
https://doi.org/10.1006/csla.1994.1001) learns from each arm's tokens and is measured in bits per
byte of the held-out documents, paired, with the intervals of `downstream.ablation`. It is a proxy:
it knows neither order nor epochs, so the annealing and what is read twice bring it nothing. What
it is good for: a choice of data can be tried in two minutes on two cores. It costs 16 bytes of
memory for each different n-gram, about 1.5 GB for 12 million tokens.

Without a pack this says so and measures nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.measured import Row, arguments, report
from downstream.ablation import compare, read_held_out
from downstream.ablation_pack import PACK
from downstream.ablation_train import Pack

ORDER, DISCOUNT = 4, 0.75
TOKENS, QUICK_TOKENS = 12_000_000, 1_500_000

Array = np.ndarray[Any, Any]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _mix(key: Any, token: Any) -> Any:
    mixed = (key ^ np.uint64(token + 1)) * np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> np.uint64(32)) | np.uint64(1)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _key(tokens: Array, begin: int, end: int) -> Any:
    """The hash of a run of tokens; never 0, which marks an empty slot."""
    key = np.uint64(end - begin) * np.uint64(0x9E3779B97F4A7C15)  # no small number: tokens are
    for i in range(begin, end):
        key = _mix(key, tokens[i])
    return key


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _slot(keys: Array, key: Any) -> Any:
    mask = np.uint64(len(keys) - 1)
    slot = (key >> np.uint64(20)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _count(tokens: Array, order: int, keys: Array, counts: Array, followers: Array) -> None:
    """Count every run of up to `order` tokens, and how many different ones follow a run."""
    for end in range(1, len(tokens) + 1):
        for length in range(1, min(order, end) + 1):
            key = _key(tokens, end - length, end)
            slot = _slot(keys, key)
            if keys[slot] == 0 and length > 1:
                context = _key(tokens, end - length, end - 1)
                before = _slot(keys, context)
                keys[before] = context
                followers[before] += 1
                slot = _slot(keys, key)
            keys[slot] = key
            counts[slot] += 1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _nats(
    tokens: Array, order: int, keys: Array, counts: Array, followers: Array, vocabulary: int,
    total: int, discount: float,
) -> float:  # fmt: skip
    """Nats of all tokens but the first."""
    nats = 0.0
    for end in range(2, len(tokens) + 1):
        seen = counts[_slot(keys, _key(tokens, end - 1, end))]
        share = (seen + 0.5) / (total + 0.5 * vocabulary)
        for length in range(2, min(order, end) + 1):
            before = _slot(keys, _key(tokens, end - length, end - 1))
            if followers[before] == 0:
                break
            own = counts[_slot(keys, _key(tokens, end - length, end))]
            share *= discount * followers[before] / counts[before]
            share += max(own - discount, 0.0) / counts[before]
        nats -= np.log(share)
    return nats


class Ngrams:
    """Counts of one arm."""

    def __init__(self, vocabulary: int, order: int = ORDER) -> None:
        self.vocabulary, self.order = vocabulary, order

    def fit(self, tokens: Array) -> Ngrams:
        """Count the tokens."""
        slots = 1 << int(np.ceil(np.log2(1.2 * self.order * len(tokens) + 1)))
        self.total_ = len(tokens)
        self.keys_ = np.zeros(slots, np.uint64)
        self.counts_, self.followers_ = np.zeros(slots, np.uint32), np.zeros(slots, np.uint32)
        _count(tokens.astype(np.int64), self.order, self.keys_, self.counts_, self.followers_)
        return self

    def nats(self, tokens: Array) -> float:
        """Nats of a document that begins with an end of text."""
        return float(
            _nats(
                tokens.astype(np.int64), self.order, self.keys_, self.counts_, self.followers_,
                self.vocabulary, self.total_, DISCOUNT,
            )
        )  # fmt: skip


def main() -> None:
    """Count, measure, compare."""
    given = arguments(__doc__, pack="the pack of the run")
    path: Path = given.pack or PACK
    if not path.is_file():
        sys.stdout.write(f"ablation: there is no {path}; see docs/ablation.md\n")
        report([], given.json)
    pack, documents = Pack(path), read_held_out(path)
    budget = QUICK_TOKENS if given.quick else TOKENS
    held_out = pack.held_out()
    chosen = range(0, len(held_out), 4 if given.quick else 1)
    nats: dict[str, dict[int, Array]] = {}
    for arm in pack.facts["arms"]:
        model = Ngrams(pack.facts["vocabulary"]).fit(_spread(pack, arm, budget))
        told = np.full(len(held_out), np.nan)
        told[list(chosen)] = [model.nats(held_out[i]) for i in chosen]
        nats[arm] = {0: told}
    levels, differences = compare(documents, nats)
    rows = [
        Row(f"{subset}, {arm}", value, "bits per byte")
        for subset, of in levels.items()
        for arm, value in of.items()
    ]
    rows += [
        Row(
            f"{d.subset}, {d.first} - {d.second}", d.bits_per_byte, "bits per byte",
            peers={"low": d.low, "high": d.high},
        )
        for d in differences
    ]  # fmt: skip
    report(rows, given.json)


def _spread(pack: Pack, arm: str, budget: int) -> Array:
    """So many tokens of an arm, taken evenly from all of it, in runs of 4,096."""
    tokens = np.concatenate([pack.part(arm, part) for part in ("base", "anneal")])
    runs = np.array_split(tokens, max(1, len(tokens) // 4_096))
    wanted = max(1, round(len(runs) * min(1.0, budget / len(tokens))))
    places = np.linspace(0, len(runs) - 1, wanted).round().astype(int)
    return np.concatenate([runs[i] for i in places])


if __name__ == "__main__":
    main()
