"""Coverage: which pairs of choices occur in a set of pieces, of those that the plan allows.

Of N pieces, the plan gives N p q to a pair of levels with the shares p and q. Where that is one or
more, the pair is to occur; where it is less, that is its chance to. The sum over all pairs is what
the plan allows: at most N, at most all pairs, and less where a level is rare, as a skill is that
few extracts fit; 100 % means that N pieces spread evenly have no more pairs. Evenness is the
entropy of how often each pair occurs, over the largest that N pieces can have; 1 is even. Counts
are kept for each pair that occurs, nothing for each piece.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shares = Mapping[str, Mapping[str | None, float]]
_WORDS = ("verb", "noun", "adjective")


def measure_coverage(records: Iterable[Mapping[str, Any]], shares: Shares) -> dict[str, Any]:
    """Coverage as a JSON object, of records of draws (`Draw.record`).

    `shares` are `Plan.shares`; a factor of one level says nothing and is left out. A record with a
    level that is none of its factor's counts for no pair of it.
    """
    names = [name for name, levels in shares.items() if len(levels) > 1]
    pairs = list(itertools.combinations(range(len(names)), 2))
    counts: list[Counter[tuple[str | None, str | None]]] = [Counter() for _ in pairs]
    alone: list[Counter[str | None]] = [Counter() for _ in names]
    extracts: Counter[int] = Counter()
    for record in records:
        chosen = {**record, **dict(zip(_WORDS, record["words"], strict=True))}
        levels = [chosen[name] for name in names]
        for one_alone, level in zip(alone, levels, strict=True):
            one_alone[level] += 1
        for counter, (one, other) in zip(counts, pairs, strict=True):
            counter[levels[one], levels[other]] += 1
        extracts[record["extract"]] += 1
    pieces = sum(extracts.values())
    table = [
        _of_pair(pieces, names[one], names[other], shares, counter)
        for counter, (one, other) in zip(counts, pairs, strict=True)
    ]
    allowed = sum(row["allowed"] for row in table)
    return {
        "pieces": pieces,
        "share": sum(row["occur"] for row in table) / allowed if allowed else None,
        "lowest_share": min((row["share"] for row in table), default=None),
        "pairs": table,
        "factors": {
            name: {str(level): counter[level] for level in sorted(shares[name], key=str)}
            for name, counter in zip(names, alone, strict=True)
        },
        "extracts": {
            "used": len(extracts),
            "most_often": max(extracts.values(), default=0),
            "evenness": _evenness(extracts, math.log(max(1, pieces))),
        },
    }


def _of_pair(
    pieces: int, one: str, other: str, shares: Shares,
    counter: Counter[tuple[str | None, str | None]],
) -> dict[str, Any]:  # fmt: skip
    first, second = shares[one], shares[other]
    known = Counter(
        {pair: n for pair, n in counter.items() if pair[0] in first and pair[1] in second}
    )
    fair = pieces * np.outer(list(first.values()), list(second.values()))
    allowed = math.floor(np.minimum(1, fair).sum() + 1e-9)
    occur = min(len(known), allowed)
    most_bits = min(math.log(max(1, pieces)), _entropy(first.values()) + _entropy(second.values()))
    return {
        "factors": [one, other],
        "allowed": allowed,
        "occur": occur,
        "share": occur / allowed if allowed else 0.0,
        "evenness": _evenness(known, most_bits),
    }


def _entropy(shares: Iterable[float]) -> float:
    return -math.fsum(p * math.log(p) for p in shares if p > 0)


def _evenness(counter: Mapping[Any, int], most_nats: float) -> float:
    total = sum(counter.values())
    found = _entropy(n / total for n in counter.values()) if total else 0.0
    return min(1.0, found / most_nats) if most_nats else 1.0


def plot_coverage(report: Mapping[str, Any]) -> Figure:
    """Every pair of factors: above the diagonal the share that occurs, below it the evenness."""
    from matplotlib.figure import Figure

    names = list(report["factors"])
    place = {name: i for i, name in enumerate(names)}
    percent = np.full((len(names), len(names)), np.nan)
    for row in report["pairs"]:
        i, j = (place[name] for name in row["factors"])
        percent[i, j], percent[j, i] = 100 * row["share"], 100 * row["evenness"]
    figure = Figure(figsize=(2 + 0.62 * len(names), 1.6 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(percent, cmap="viridis", vmin=50, vmax=100)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (i, j), value in np.ndenumerate(percent):
        if not np.isnan(value):
            shade = "black" if value > 80 else "white"
            axes.text(j, i, f"{value:.0f}", ha="center", va="center", color=shade, fontsize=8)
    axes.set_title(
        f"{report['pieces']:,} pieces: pairs of choices, % of what the plan allows\n"
        "above: that occur; below: how evenly",
        fontsize=9,
    )
    figure.colorbar(shown, ax=axes, label="%", shrink=0.8)
    return figure
