"""How far annotators agree on scores from 0 to 5, and how sure that figure is.

Of two annotators: kappa with quadratic weights (Cohen 1968, "Weighted kappa"), which counts a
disagreement by the square of its distance and takes off what chance would give. Of all of them:
Krippendorff's alpha for ordinal data (Krippendorff 2011, "Computing Krippendorff's
alpha-reliability"; Hayes and Krippendorff 2007), which also holds where each has read a part only.

Intervals are percentiles of the bootstrap over documents (Efron 1979). Both measures depend on
counts alone, so a resample is one multinomial draw of counts, and no document is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LEVELS = 6  # scores 0 to 5
PERCENTILES = (0.025, 0.975)

_DISTANCE = np.subtract.outer(np.arange(LEVELS), np.arange(LEVELS))  # the row's score minus the
_SQUARES = np.square(_DISTANCE).astype(np.float64)  # column's, and its square


def measure_agreement(
    scores: Mapping[str, Mapping[str, int]], seed: int, resamples: int = 1_000
) -> dict[str, Any]:
    """Agreement of annotators, each given as its scores by doc_id; as JSON has it.

    `pairs` has an entry for every two that share documents: `annotators`, `n` shared documents,
    `kappa` and its 95 % `interval`, the shares `exact` and `within_one`, `bias` (the second's mean
    minus the first's), `spearman`, and `confusion`: 6 rows by the first's score, 6 columns by the
    second's. `alpha` is of all of them: its `value`, `interval`, and `n` documents that two or more
    have scored. Null stands for what is not defined; a resample for which a measure is not defined
    tells nothing of its interval. Raises ValueError for a score that is not 0 to 5.
    """
    return {
        "pairs": [
            _measure_pair((a, b), [(scores[a][i], scores[b][i]) for i in shared], seed, resamples)
            for a, b in combinations(scores, 2)
            if (shared := scores[a].keys() & scores[b].keys())
        ],
        "alpha": _measure_all(count_by_document(scores), seed, resamples),
        "resamples": resamples,
    }


def quadratic_kappa(a: Sequence[int], b: Sequence[int]) -> float | None:
    """Cohen's kappa with quadratic weights; None where both give one and the same score."""
    return _known(_kappa(count_pairs(a, b)))


def ordinal_alpha(counts: Counts) -> float | None:
    """Krippendorff's alpha of int[documents, 6], how many gave each score; None for one score."""
    pairable = counts[counts.sum(axis=1) >= 2]
    return _known(_alpha(_coincidences(pairable).sum(axis=0)))


def count_pairs(a: Sequence[int], b: Sequence[int]) -> Counts:
    """int[6, 6]: how often `a` gave the row's score where `b` gave the column's."""
    cells = LEVELS * _checked(a) + _checked(b)
    return np.bincount(cells, minlength=LEVELS**2).reshape(LEVELS, LEVELS)


def count_by_document(scores: Mapping[str, Mapping[str, int]]) -> Counts:
    """int[documents, 6]: how many annotators gave each score, in the order of the ids."""
    ids = sorted({doc_id for of_one in scores.values() for doc_id in of_one})
    place = {doc_id: i for i, doc_id in enumerate(ids)}
    counts = np.zeros((len(ids), LEVELS), np.int64)
    for of_one in scores.values():
        counts[[place[doc_id] for doc_id in of_one], _checked(list(of_one.values()))] += 1
    return counts


def _measure_pair(
    names: tuple[str, str], pairs: list[tuple[int, int]], seed: int, resamples: int
) -> dict[str, Any]:
    table = count_pairs([a for a, _ in pairs], [b for _, b in pairs])
    n = len(pairs)
    # every pair starts from the seed, so that no figure depends on who else was measured
    drawn = np.random.default_rng(seed).multinomial(n, table.ravel() / n, resamples)
    return {
        "annotators": list(names),
        "n": n,
        "kappa": _known(_kappa(table)),
        "interval": _interval(_kappa(drawn.reshape(-1, LEVELS, LEVELS))),
        "exact": int(table.trace()) / n,
        "within_one": int(table[np.abs(_DISTANCE) <= 1].sum()) / n,
        "bias": float((table * -_DISTANCE).sum() / n),
        "spearman": _known(_spearman(table)),
        "confusion": table.tolist(),
    }


def _measure_all(counts: Counts, seed: int, resamples: int) -> dict[str, Any]:
    pairable = counts[counts.sum(axis=1) >= 2]
    n = len(pairable)
    if n == 0:
        return {"value": None, "interval": None, "n": 0}
    patterns, times = np.unique(pairable, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(n, times / n, resamples)
    summed = drawn @ _coincidences(patterns).reshape(len(patterns), -1)
    return {
        "value": ordinal_alpha(pairable),
        "interval": _interval(_alpha(summed.reshape(-1, LEVELS, LEVELS))),
        "n": n,
    }


def _kappa(tables: npt.NDArray[Any]) -> Floats:
    """Of [..., 6, 6] counts: 1 less disagreement as observed over that of independent scores."""
    observed = (tables * _SQUARES).sum(axis=(-2, -1))
    rows, columns = tables.sum(axis=-1), tables.sum(axis=-2)
    expected = ((rows @ _SQUARES) * columns).sum(axis=-1)
    return 1 - _ratio(observed * rows.sum(axis=-1), expected)


def _coincidences(counts: Counts) -> Floats:
    """Of int[N, 6], each row with two scores or more: its pairs of scores, as [N, 6, 6].

    Each score of a document is paired with all others of it, and these share a weight of 1.
    """
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(LEVELS)
    return np.asarray(pairs / (counts.sum(axis=1) - 1)[:, None, None])


def _alpha(coincidences: Floats) -> Floats:
    """Of [..., 6, 6]: the distance of two ordinal scores is how many scores lie between them."""
    margins = coincidences.sum(axis=-1)
    distances = np.square(_differences(_mid_ranks(margins)))
    observed = (coincidences * distances).sum(axis=(-2, -1))
    expected = (margins[..., :, None] * margins[..., None, :] * distances).sum(axis=(-2, -1))
    return np.asarray(1 - (margins.sum(axis=-1) - 1) * _ratio(observed, expected))


def _spearman(table: Counts) -> Floats:
    """Correlation of the ranks, ties at the middle of theirs: high where only the scales differ."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    a, b = (_mid_ranks(margins) - table.sum() / 2 for margins in (rows, columns))
    spread = (rows * a**2).sum() * (columns * b**2).sum()
    return _ratio(a @ table @ b, np.sqrt(spread))


def _mid_ranks(margins: npt.NDArray[Any]) -> Floats:
    """Of [..., 6] counts: where the middle of each score stands among all, in order."""
    return np.asarray(np.cumsum(margins, axis=-1) - margins / 2)


def _differences(values: Floats) -> Floats:
    return np.asarray(values[..., :, None] - values[..., None, :])


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """Their quotient; NaN where there is nothing to divide by."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _interval(values: Floats) -> list[float] | None:
    known = values[np.isfinite(values)]
    return [float(end) for end in np.quantile(known, PERCENTILES)] if len(known) else None


def _known(value: Floats) -> float | None:
    return float(value) if np.isfinite(value) else None


def _checked(scores: Sequence[int]) -> Counts:
    array = np.asarray(scores, np.int64)
    if array.size and (array.min() < 0 or array.max() >= LEVELS):
        raise ValueError(f"scores are 0 to 5, not {array.min()} to {array.max()}")
    return array
