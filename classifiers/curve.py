"""The whole curve around a cut: what every other threshold would keep, and how good it would be.

Precision and recall are of labelled documents, each judged by a forest that never saw its group;
what is kept is of a uniform sample of the corpus, scaled up to all of it. Each figure has a 95 %
interval, for which whole groups are drawn (`classifiers.intervals`). The intervals hold point by
point, not for the whole curve at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.intervals import interval, ratio, resampled_sums
from classifiers.threshold import Corpus, Decision, Floats, Labelled

POINTS = 50


def curve(
    labelled: Labelled,
    corpus: Corpus,
    decision: Decision,
    bytes_per_token: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Points from loose to strict, the decision's own among them; null where nothing is defined."""
    whole = corpus.judged(decision.by)
    cuts = np.quantile(whole, np.linspace(0, 1, POINTS)).astype(np.float32)
    cuts = np.unique(np.append(cuts, np.float32(decision.at)))
    known = _known(labelled, decision.by, cuts)
    shares = _shares(corpus, whole, cuts)
    drawn = {
        **_rates(resampled_sums(known, labelled.groups, rng)),
        **_kept(resampled_sums(shares, corpus.groups, rng)),
    }
    found = {**_rates(known.sum(axis=0)[None]), **_kept(shares.sum(axis=0)[None])}
    tokens = corpus.total_bytes / bytes_per_token
    points = []
    for i, at in enumerate(cuts):
        values = {name: _number(figures[0, i]) for name, figures in found.items()}
        intervals = {name: interval(figures[:, i]) for name, figures in drawn.items()}
        low, high = np.quantile(drawn["kept_share_bytes"][:, i], [0.025, 0.975])  # never undefined
        points.append(
            {
                "threshold": float(at),
                "chosen": bool(at == np.float32(decision.at)),
                **values,
                "kept_documents": round(values["kept_share"] * corpus.total_documents),
                "kept_bytes": round(values["kept_share_bytes"] * corpus.total_bytes),
                "kept_tokens": round(values["kept_share_bytes"] * tokens),
                "intervals": {
                    **intervals,
                    "kept_tokens": [round(low * tokens), round(high * tokens)],
                },
            }
        )
    return points


def _known(labelled: Labelled, by: str, cuts: Floats) -> Floats:
    """float64[N, 2P + 1]: at each cut, is it kept and positive, is it kept; then is it positive."""
    keep = labelled.judged(by)[:, None] >= cuts
    positive = labelled.positive[:, None]
    return np.hstack([keep & positive, keep, positive]).astype(np.float64)


def _shares(corpus: Corpus, whole: Floats, cuts: Floats) -> Floats:
    """float64[N, 2P + 2]: at each cut, is it kept, its bytes if so; then one, and its bytes."""
    keep = (whole[:, None] >= cuts).astype(np.float64)
    n_bytes = corpus.n_bytes[:, None].astype(np.float64)
    return np.hstack([keep, keep * n_bytes, np.ones_like(n_bytes), n_bytes])


def _rates(sums: Floats) -> dict[str, Floats]:
    """float64[R, P] from the sums of `_known`."""
    hits, kept = np.split(sums[:, :-1], 2, axis=1)
    return {"precision": ratio(hits, kept), "recall": ratio(hits, _wide(sums[:, -1], hits))}


def _kept(sums: Floats) -> dict[str, Floats]:
    """float64[R, P] from the sums of `_shares`."""
    kept, kept_bytes = np.split(sums[:, :-2], 2, axis=1)
    return {
        "kept_share": ratio(kept, _wide(sums[:, -2], kept)),
        "kept_share_bytes": ratio(kept_bytes, _wide(np.maximum(sums[:, -1], 1), kept)),
    }


def _wide(column: Floats, like: Floats) -> npt.NDArray[np.float64]:
    return np.broadcast_to(column[:, None], like.shape).astype(np.float64)


def _number(value: Any) -> Any:
    return None if np.isnan(value) else float(value)
