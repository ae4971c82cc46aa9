"""Ratings of models from games between pairs of them, on the scale of Elo.

Elo's own update depends on the order of the games, so ratings are fitted to all games at once: the
maximum likelihood of the Bradley-Terry model (Biometrika 39, 1952), by the iteration of Hunter
(Annals of Statistics 32, 2004), as Chatbot Arena does (arXiv 2403.04132). A tie is half a game won
by each. 400 points are odds of ten to one; the mean, or a named anchor, is 1,000.

Each pair that met is given one tie more than it played: a model that won every game would else have
no finite rating. Intervals are of the bootstrap over prompts, because the games of one prompt
depend on each other. Cost: a thousand fits at once, some milliseconds for ten models.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import InputError

_POINTS = 400 / np.log(10)
_CENTRE = 1_000.0
_PRIOR_TIES = 1.0
_ITERATIONS, _CLOSE = 10_000, 1e-9

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Game:
    """One pair on one prompt; `score` is what the first model won: 1, 0.5 or 0."""

    prompt: int
    first: str
    second: str
    score: float


def rate(
    games: Sequence[Game], anchor: str | None = None, resamples: int = 1_000, seed: int = 0
) -> list[dict[str, Any]]:
    """Models from the best to the worst, each with rating and 95 % interval (low, high).

    Raises InputError where the games do not connect all models, or none is the anchor.
    """
    models = sorted({name for game in games for name in (game.first, game.second)})
    if anchor is not None and anchor not in models:
        raise InputError("evaluate", f"the anchor {anchor!r} played no game", f"take of {models}")
    won = _won(games, models)  # P x M x M
    _check_connected(won.sum(axis=0), models)
    drawn = np.random.default_rng(seed).multinomial(
        len(won), np.full(len(won), 1 / len(won)), size=resamples
    )
    ties = (won + won.swapaxes(1, 2)).sum(axis=0) > 0
    prior = 0.5 * _PRIOR_TIES * ties
    weights = np.concatenate([np.ones((1, len(won))), drawn])
    ratings = _fit(np.einsum("rp,pij->rij", weights, won) + prior)
    at = ratings.mean(axis=1) if anchor is None else ratings[:, models.index(anchor)]
    ratings += _CENTRE - at[:, None]
    low, high = np.quantile(ratings[1:], [0.025, 0.975], axis=0)
    rows = [
        {
            "model": model,
            "rating": round(float(ratings[0, i]), 1),
            "low": round(float(low[i]), 1),
            "high": round(float(high[i]), 1),
            **_tally(games, model),
        }
        for i, model in enumerate(models)
    ]
    return sorted(rows, key=lambda row: (-row["rating"], row["model"]))


def expected_score(rating: float, other: float) -> float:
    """The share of games that a model of `rating` wins against one of `other`."""
    return float(1 / (1 + np.exp((other - rating) / _POINTS)))


def _won(games: Sequence[Game], models: list[str]) -> Floats:
    """Games won, P x M x M: on each prompt, by each model against each other."""
    prompts = {prompt: i for i, prompt in enumerate(sorted({game.prompt for game in games}))}
    places = {model: i for i, model in enumerate(models)}
    won = np.zeros((len(prompts), len(models), len(models)))
    for game in games:
        p, i, j = prompts[game.prompt], places[game.first], places[game.second]
        won[p, i, j] += game.score
        won[p, j, i] += 1 - game.score
    return won


def _check_connected(won: Floats, models: list[str]) -> None:
    met = (won + won.T) > 0
    reached = {0} if models else set()
    frontier = list(reached)
    while frontier:
        new = set(np.flatnonzero(met[frontier.pop()]).tolist()) - reached
        reached |= new
        frontier += new
    if len(reached) < max(2, len(models)):
        apart = [model for i, model in enumerate(models) if i not in reached]
        raise InputError(
            "evaluate", f"no games connect {apart or models} with the others",
            "compare every model with another on some prompt",
        )  # fmt: skip


def _fit(won: Floats) -> Floats:
    """Ratings, R x M, of R tables of games won, R x M x M (Hunter's minorize-maximize)."""
    played = won + won.swapaxes(1, 2)
    strengths = np.ones(won.shape[:2])
    for _ in range(_ITERATIONS):
        sums = strengths[:, :, None] + strengths[:, None, :]
        new = won.sum(axis=2) / (played / sums).sum(axis=2)
        new /= np.exp(np.log(new).mean(axis=1, keepdims=True))
        moved = np.abs(np.log(new / strengths)).max()
        strengths = new
        if moved < _CLOSE:
            break
    ratings: Floats = _POINTS * np.log(strengths)
    return ratings


def _tally(games: Sequence[Game], model: str) -> dict[str, int]:
    scores = [
        score
        for game in games
        for name, score in ((game.first, game.score), (game.second, 1 - game.score))
        if name == model
    ]
    return {
        "games": len(scores),
        "won": scores.count(1.0),
        "tied": scores.count(0.5),
        "lost": scores.count(0.0),
    }


def all_pairs(models: Sequence[str]) -> list[tuple[str, str]]:
    """Every two models, once."""
    return list(itertools.combinations(models, 2))
