"""Which documents of an arm fill `base` and `anneal`, in which order, and how much of each.

`anneal` has a pool of its own: synthetic documents, then the best scored, so many that each is read
about as often as the arm is on average (MiniCPM, arXiv 2404.06395, section 5: what is best is worth
most while the rate decays). Arms that know no scores take any documents, by their hash. `base` is
mixed from the rest, in the seeded order. Within a stage every cell is spread evenly over the whole
stage, so that a trainer that reads in order sees the mixture all the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.arms import RANKED
from pipeline.errors import StageError
from pipeline.mixture import MixtureConfig, StageName, share_stage
from pipeline.token_store import Ints, TokenStore


@dataclass(frozen=True)
class MixedStage:
    """Documents in the order in which they are written, and how many tokens of each."""

    rows: Ints
    lengths: Ints
    by_cell: list[int]  # tokens


@dataclass(frozen=True)
class Mixer:
    """Fills the stages of arms from one store."""

    store: TokenStore
    config: MixtureConfig
    source_weights: Mapping[str, float]
    max_repeats: float
    anneal_share: float

    def mix(self, arm: str, rows: Ints, budget: int) -> dict[StageName, MixedStage]:
        """Both stages of an arm that has these documents; together they have `budget` tokens."""
        wanted = min(max(1, round(budget * self.anneal_share)), budget - 1)
        epochs = max(1.0, budget / int(self.store.length[rows].sum()))
        pool, there = self._pool(arm, rows, wanted * self.config.anneal_pool / epochs)
        anneal = self._fill(arm, "anneal", pool, there, wanted, self._limits(there))
        read = anneal.rows
        if there.sum() < self.store.length[pool].sum():
            read = np.setdiff1d(read, pool[-1:])
        rest = rows[~np.isin(rows, read)]
        left = np.maximum(0, self._limits(self.there(rows)) - np.array(anneal.by_cell))
        if len(rest):  # the token more is what rounding took from another document
            left = np.minimum(left, self._limits(self.there(rest) + 1))
        else:
            rest = rows
        base = self._fill(arm, "base", rest, self.there(rest), budget - wanted, left)
        return {"base": base, "anneal": anneal}

    def there(self, rows: Ints) -> Ints:
        """int64[cells]: the tokens that documents have in each cell, each read once."""
        store = self.store
        found: Ints = np.zeros(len(store.cells), np.int64)
        np.add.at(found, store.cell[rows], store.length[rows])
        return found

    def _limits(self, there: Ints) -> Ints:
        limits: Ints = np.ceil(there * self.max_repeats).astype(np.int64)
        return limits

    def _ranked(self, arm: str, rows: Ints) -> Ints:
        """The arm's documents, what is best for the decay first."""
        if arm not in RANKED:
            return rows[::-1]
        store = self.store
        synthetic = np.array([cell.synthetic for cell in store.cells])[store.cell[rows]]
        return rows[np.lexsort((store.ids[rows], -store.score[rows], ~synthetic))]

    def _pool(self, arm: str, rows: Ints, wanted: float) -> tuple[Ints, Ints]:
        """The first ranked documents that have so many tokens, and how many by cell.

        Of the last of them only what is wanted counts, and `base` may read it too: else a limit of
        repeats could not be met to the token.
        """
        ranked = self._ranked(arm, rows)
        total = np.cumsum(self.store.length[ranked])
        n = min(int(np.searchsorted(total, wanted)) + 1, len(ranked))
        pool = ranked[:n]
        there = self.there(pool)
        there[self.store.cell[pool[-1]]] -= max(0, int(total[n - 1] - np.ceil(wanted)))
        return pool, there

    def _fill(
        self, arm: str, stage: StageName, pool: Ints, there: Ints, budget: int, limits: Ints
    ) -> MixedStage:
        """The stage of an arm; `there` and `limits` are tokens by cell."""
        mixture, cells = self.config.of(arm, stage), self.store.cells
        found = share_stage(
            budget, cells, there.tolist(), limits.tolist(), mixture, self.source_weights
        )
        if sum(found) < budget:
            most = ", ".join(f"{c} {n}" for c, n in zip(cells, found, strict=True) if n)
            raise StageError(
                "tokenize",
                f"arm {arm!r} can fill only {sum(found)} of the {budget} tokens of {stage} in at "
                f"most {self.max_repeats:g} epochs ({most or 'nothing has a weight'})",
                f"raise tokenize.max_repeats or tokenize.mixture.{stage}.max_share, weigh more "
                "sources, or lower the budget",
            )
        parts = [self._cut(pool, cell, n) for cell, n in enumerate(found) if n]
        rows, lengths, at = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((rows, self.store.place[rows], at))
        return MixedStage(rows[order], lengths[order], found)

    def _cut(self, pool: Ints, cell: int, budget: int) -> tuple[Ints, Ints, Any]:
        """Documents of one cell that have just so many tokens, and where in the stage each is.

        They are chosen in the pool's order, going round, and read in the seeded order; the last
        chosen is cut.
        """
        store = self.store
        rows = pool[store.cell[pool] == cell]
        rounds, left = divmod(budget, int(store.length[rows].sum()))
        total = np.cumsum(store.length[rows])
        n = int(np.searchsorted(total, left)) + 1 if left else 0
        last = store.length[rows[:n]].copy()
        if n:
            last[-1] -= total[n - 1] - left
        chosen = [*[(rows, store.length[rows])] * rounds, *([(rows[:n], last)] if n else [])]
        order = [np.argsort(store.place[some], kind="stable") for some, _ in chosen]
        found = np.concatenate([some[o] for (some, _), o in zip(chosen, order, strict=True)])
        lengths = np.concatenate([long[o] for (_, long), o in zip(chosen, order, strict=True)])
        return found, lengths, (np.cumsum(lengths) - lengths / 2) / budget
