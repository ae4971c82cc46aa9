"""Where to cut: a threshold by purpose, the whole curve around it, and how sure it is.

Two samples answer different questions. Precision and recall come from labelled documents, each
judged by a forest that never saw its group. The kept share comes from a sample of the corpus
itself: the labelled sample is stratified, so its shares are not the corpus's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]

FEWEST_KEPT = 10  # a precision on fewer kept labels than this is luck
BOOTSTRAP_ROUNDS = 1_000
CURVE_POINTS = 50


@dataclass(frozen=True)
class Purpose:
    """What the cut is for, and the value that it must reach."""

    kind: Literal["keep_share", "precision_floor", "expected_score"]
    value: float


@dataclass(frozen=True)
class Labelled:
    """Held-out judgements of N labelled documents."""

    score: Floats
    expected_score: Floats
    positive: Bools


@dataclass(frozen=True)
class Corpus:
    """Judgements of a uniform sample of the corpus, with the size of each text."""

    score: Floats
    expected_score: Floats
    n_bytes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decision:
    """Keep a document if its `by` is at least `at`."""

    by: Literal["score", "expected_score"]
    at: float

    def keep(self, score: Floats, expected_score: Floats) -> Bools:
        judged = score if self.by == "score" else expected_score
        return np.asarray(judged >= np.float32(self.at))


def choose(purpose: Purpose, labelled: Labelled, corpus: Corpus) -> Decision:
    """The decision that serves the purpose and keeps most; ValueError where none does."""
    if purpose.kind == "expected_score":
        return Decision("expected_score", purpose.value)
    if purpose.kind == "keep_share":
        return Decision("score", _cut_for_share(corpus.score, purpose.value))
    return Decision("score", _cut_for_precision(labelled, purpose.value))


def precision_recall(positive: Bools, keep: Bools) -> tuple[float, float]:
    """Of the positive class; the precision of keeping nothing is 0, the recall of nothing too."""
    hits = int(np.sum(positive & keep))
    return hits / max(int(keep.sum()), 1), hits / max(int(positive.sum()), 1)


def curve(labelled: Labelled, corpus: Corpus, by: str) -> list[dict[str, float]]:
    """Threshold, kept share of documents and bytes, precision and recall, from loose to strict."""
    judged = labelled.score if by == "score" else labelled.expected_score
    whole = corpus.score if by == "score" else corpus.expected_score
    n_bytes = max(int(corpus.n_bytes.sum()), 1)
    points = []
    for at in np.unique(np.quantile(whole, np.linspace(0, 1, CURVE_POINTS))):
        precision, recall = precision_recall(labelled.positive, judged >= at)
        kept = whole >= at
        points.append(
            {
                "threshold": float(at),
                "kept_share": float(kept.mean()),
                "kept_share_bytes": int(corpus.n_bytes[kept].sum()) / n_bytes,
                "precision": precision,
                "recall": recall,
            }
        )
    return points


def bootstrap(
    positive: Bools, keep: Bools, groups: npt.NDArray[np.object_], rng: np.random.Generator
) -> dict[str, list[float]]:
    """95 % intervals of precision and recall; whole groups are drawn, as they were split."""
    _, group = np.unique(groups.astype(str), return_inverse=True)
    count = int(group.max()) + 1
    hits, kept, wanted = (
        np.bincount(group, chosen, minlength=count) for chosen in (positive & keep, keep, positive)
    )
    drawn = rng.integers(0, count, (BOOTSTRAP_ROUNDS, count))
    hit = hits[drawn].sum(axis=1)
    rates = {
        "precision": hit / np.maximum(kept[drawn].sum(axis=1), 1),
        "recall": hit / np.maximum(wanted[drawn].sum(axis=1), 1),
    }
    return {name: np.quantile(rate, [0.025, 0.975]).tolist() for name, rate in rates.items()}


def _between(ranked: Floats, kept: int) -> float:
    """A float32 cut that keeps the first `kept` of values ranked downwards, half way to the next.

    No two scores of another corpus fall on it by chance, as they do on a score itself.
    """
    if kept >= len(ranked):
        return float(np.float32(ranked[-1]))
    middle = np.float32((float(ranked[kept - 1]) + float(ranked[kept])) / 2)
    return float(middle if middle > ranked[kept] else ranked[kept - 1])


def _cut_for_share(score: Floats, share: float) -> float:
    ranked = np.sort(score)[::-1]
    wanted = max(1, round(share * len(ranked)))
    if wanted == len(ranked):
        return _between(ranked, wanted)
    # Where documents tie at the cut, keep fewer rather than more, but never none.
    above = int(np.sum(ranked > ranked[wanted]))
    return _between(ranked, above) if above else float(np.float32(ranked[0]))


def _cut_for_precision(labelled: Labelled, floor: float) -> float:
    order = np.argsort(-labelled.score, kind="stable")
    ranked = labelled.score[order]
    precision = np.cumsum(labelled.positive[order]) / np.arange(1, len(ranked) + 1)
    last_of_tie = np.append(ranked[1:] < ranked[:-1], True)
    usable = last_of_tie & (np.arange(1, len(ranked) + 1) >= FEWEST_KEPT)
    good = np.flatnonzero(usable & (precision >= floor))
    if len(good) == 0:
        best = precision[usable].max(initial=0.0)
        raise ValueError(f"no threshold reaches a precision of {floor}; the best is {best:.3f}")
    return _between(ranked, int(good[-1]) + 1)
