"""Which of two arms is better, on the same documents: paired differences and their intervals.

The difference is of bits per byte, negative where the first arm is better. Documents of one group
(a package, a site) are alike, so groups are drawn again with replacement, not documents; with
several seeds, seeds are drawn again too, and a seed of one arm is paired with the same of the
other. An interval of 95 % that leaves out zero is called a difference; their number is not
corrected for.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

DRAWS = 2_000
CONFIDENCE = 0.95

Rows = Sequence[dict[str, Any]]


def compare_arms(rows: Rows, seed: int) -> list[dict[str, Any]]:
    """All pairs of arms, for each type and subset, from rows of results.parquet."""
    types = list(dict.fromkeys(row["type"] for row in rows))
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    found = []
    for kind, (one, other) in itertools.product(types, itertools.combinations(arms, 2)):
        ours = [row for row in rows if row["arm"] == one and row["type"] == kind]
        theirs = [row for row in rows if row["arm"] == other and row["type"] == kind]
        if not ours or not theirs:
            continue
        for name, belongs in _subsets(ours).items():
            told = compare(
                [row for row in ours if belongs(row)], [r for r in theirs if belongs(r)], seed
            )
            if told is not None:
                found.append({"arm": one, "than": other, "type": kind, "subset": name, **told})
    return found


def _subsets(rows: Rows) -> dict[str, Callable[[dict[str, Any]], bool]]:
    """All documents, those that the filter keeps, the others, and each kind."""
    subsets: dict[str, Callable[[dict[str, Any]], bool]] = {
        "all": lambda row: True,
        "kept": lambda row: bool(row["keep"]),
        "not kept": lambda row: not row["keep"],
    }
    for kind in sorted({row["kind"] for row in rows}):
        subsets[kind] = lambda row, kind=kind: row["kind"] == kind  # type: ignore[misc]
    return subsets


def compare(ours: Rows, theirs: Rows, seed: int) -> dict[str, Any] | None:
    """Difference in bits per byte with its interval; null without a common document.

    Rows have seed, doc_id, group, n_bytes and nats. With fewer than two groups the ends are null.
    """
    import numpy as np

    size = {row["doc_id"]: row["n_bytes"] for row in ours}
    group = {row["doc_id"]: row["group"] for row in ours}
    common = sorted(size.keys() & {row["doc_id"] for row in theirs})
    if not common:
        return None
    groups = sorted({group[doc] for doc in common})
    place = {name: i for i, name in enumerate(groups)}
    nats = _by_seed(ours, theirs, common)
    lost_SG = np.zeros((len(nats), len(groups)))  # S: seeds, G: groups
    bytes_G = np.zeros(len(groups))
    for j, doc in enumerate(common):
        bytes_G[place[group[doc]]] += size[doc]
        lost_SG[:, place[group[doc]]] += [told[j] / math.log(2) for told in nats]
    mean = float(lost_SG.mean(axis=0).sum() / bytes_G.sum())
    low = high = None
    if len(groups) > 1:
        low, high = _interval(lost_SG, bytes_G, seed)
    return {
        "difference_bits_per_byte": round(mean, 5),
        "low": low,
        "high": high,
        "verdict": _verdict(low, high),
        "documents": len(common),
        "groups": len(groups),
        "seeds": len(nats),
    }


def _by_seed(ours: Rows, theirs: Rows, common: Sequence[str]) -> list[list[float]]:
    """Nats lost on each common document, for each seed of both; else of the means over seeds."""
    seeds = {row["seed"] for row in ours} & {row["seed"] for row in theirs}
    if seeds:
        one, other = (
            {(r["seed"], r["doc_id"]): r["nats"] for r in rows} for rows in (ours, theirs)
        )
        return [
            [one[seed, doc] - other[seed, doc] for doc in common] for seed in sorted(seeds, key=str)
        ]
    means = [_mean_nats(rows) for rows in (ours, theirs)]
    return [[means[0][doc] - means[1][doc] for doc in common]]


def _mean_nats(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["doc_id"], []).append(row["nats"])
    return {doc: sum(values) / len(values) for doc, values in found.items()}


def _interval(lost_SG: Any, bytes_G: Any, seed: int) -> tuple[float, float]:
    import numpy as np

    generator = np.random.default_rng(seed)
    seeds, groups = lost_SG.shape
    drawn_BG = generator.multinomial(groups, np.full(groups, 1 / groups), DRAWS)
    drawn_BS = generator.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds
    means_B = ((drawn_BS @ lost_SG) * drawn_BG).sum(axis=1) / (drawn_BG @ bytes_G)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means_B, [tail, 1 - tail])
    return round(float(low), 5), round(float(high), 5)


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "too few groups"
    if high < 0:
        return "better"
    return "worse" if low > 0 else "no difference shown"
