"""Where to cut: a threshold by purpose.

Two samples answer different questions. Precision and recall come from labelled documents, each
judged by a forest that never saw its group. The kept share comes from a sample of the corpus
itself: the labelled sample is stratified, so its shares are not the corpus's. How many tokens that
is follows from the bytes of all documents, counted, and the bytes of a token, given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]

FEWEST_KEPT = 10  # a precision on fewer kept labels than this is luck
BYTES_PER_TOKEN = 4.0  # English in a vocabulary of 32,000 to 128,000; less for code
By = Literal["score", "expected_score"]


@dataclass(frozen=True)
class Purpose:
    """What the cut is for, and the value that it must reach."""

    kind: Literal["keep_share", "precision_floor", "expected_score", "token_budget"]
    value: float
    bytes_per_token: float = BYTES_PER_TOKEN


@dataclass(frozen=True)
class Labelled:
    """Held-out judgements of N labelled documents."""

    score: Floats
    expected_score: Floats
    positive: Bools
    groups: npt.NDArray[np.object_]

    def judged(self, by: str) -> Floats:
        return self.score if by == "score" else self.expected_score


@dataclass(frozen=True)
class Corpus:
    """Judgements of a uniform sample of the corpus, and how large the whole corpus is."""

    score: Floats
    expected_score: Floats
    n_bytes: npt.NDArray[np.int64]  # of each text
    groups: npt.NDArray[np.object_]
    total_documents: int
    total_bytes: int

    def judged(self, by: str) -> Floats:
        return self.score if by == "score" else self.expected_score


@dataclass(frozen=True)
class Decision:
    """Keep a document if its `by` is at least `at`."""

    by: By
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
    if purpose.kind == "token_budget":
        return Decision("score", _cut_for_tokens(corpus, purpose))
    return Decision("score", _cut_for_precision(labelled, purpose.value))


def precision_recall(positive: Bools, keep: Bools) -> tuple[float, float]:
    """Of the positive class; the precision of keeping nothing is 0, the recall of nothing too."""
    hits = int(np.sum(positive & keep))
    return hits / max(int(keep.sum()), 1), hits / max(int(positive.sum()), 1)


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


def _cut_for_tokens(corpus: Corpus, purpose: Purpose) -> float:
    """As much of the best as fits; where documents tie at the cut, fewer rather than more."""
    order = np.argsort(-corpus.score, kind="stable")
    ranked = corpus.score[order]
    share = np.cumsum(corpus.n_bytes[order]) / max(int(corpus.n_bytes.sum()), 1)
    tokens = share * corpus.total_bytes / purpose.bytes_per_token
    last_of_tie = np.append(ranked[1:] < ranked[:-1], True)
    fits = np.flatnonzero(last_of_tie & (tokens <= purpose.value))
    if len(fits) == 0:
        least = tokens[last_of_tie][0]
        raise ValueError(
            f"a budget of {purpose.value:,.0f} tokens is finer than a sample of {len(ranked):,} "
            f"documents can tell: its best stand for {least:,.0f}"
        )
    return _between(ranked, int(fits[-1]) + 1)


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
