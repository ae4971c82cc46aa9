"""What a recipe asks of a mixture, and how a stage's tokens are shared out among its cells.

A cell is what a mixture can tell apart: one source, one kind, written by people or synthetic. By
default a stage is made of what is there, and a weight of 2 means that a token of the cell is read
twice as often as one of weight 1. Weights multiply: the source's own `weight` in the recipe, and
those of the stage by source, by kind and for synthetic text. No cell is read more often than
`max_repeats`, no source takes more than its `max_share` of the stage; what a cell may not take, the
others take in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from pipeline.config import Section

StageName = Literal["base", "anneal"]
Weight = Annotated[float, Field(ge=0, le=1_000)]
Share = Annotated[float, Field(gt=0, le=1)]


class Cell(NamedTuple):
    """What a mixture tells apart."""

    source: str
    kind: str
    synthetic: bool

    def __str__(self) -> str:
        return f"{self.source} ({self.kind}{', synthetic' * self.synthetic})"


class StageMixture(Section):
    """The mixture of one stage: how often a token is read, against one of weight 1."""

    sources: dict[str, Weight] = Field(
        {}, description="Weight by source; others have 1. Lessons have the source 'synthetic'."
    )
    kinds: dict[Literal["web", "code"], Weight] = Field(
        {}, description="Weight by kind; others have 1."
    )
    synthetic: float = Field(1, ge=0, le=1_000, description="Weight of synthetic text.")
    max_share: dict[str, Share] = Field(
        {}, description="By source, its largest share of the stage's tokens."
    )

    def weight(self, cell: Cell, source_weights: Mapping[str, float]) -> float:
        """How often a token of the cell is read, against one of weight 1."""
        weight = source_weights.get(cell.source, 1.0) * self.sources.get(cell.source, 1.0)
        weight *= {str(kind): w for kind, w in self.kinds.items()}.get(cell.kind, 1.0)
        return weight * self.synthetic if cell.synthetic else weight


class ArmMixture(Section):
    """What is otherwise in one arm; null keeps the mixture of all."""

    base: StageMixture | None = Field(None, description="The broad mixture of this arm.")
    anneal: StageMixture | None = Field(None, description="The last mixture of this arm.")


class MixtureConfig(Section):
    """Which tokens, how often: a broad `base`, then `anneal` of the best while the rate decays."""

    base: StageMixture = Field(StageMixture(), description="The broad mixture.")
    anneal: StageMixture = Field(StageMixture(), description="Within the pool of the best.")
    anneal_pool: float = Field(
        1, ge=1, le=100,
        description="The pool of the best, as a multiple of what fills `anneal` by itself; the "
        "larger, the more the weights decide and the less the scores.",
    )  # fmt: skip
    by_arm: dict[str, ArmMixture] = Field({}, description="By arm, what is otherwise there.")

    def of(self, arm: str, stage: StageName) -> StageMixture:
        """The mixture of a stage of an arm."""
        own = self.by_arm.get(arm, ArmMixture())
        asked = own.base if stage == "base" else own.anneal
        return asked or (self.base if stage == "base" else self.anneal)

    def names(self) -> set[str]:
        """Every source that is named anywhere in it."""
        own = [mixture for arm in self.by_arm.values() for mixture in (arm.base, arm.anneal)]
        asked = [self.base, self.anneal, *(mixture for mixture in own if mixture)]
        return {name for mixture in asked for name in (*mixture.sources, *mixture.max_share)}


def share_out(
    budget: int, weights: Sequence[float], limits: Sequence[int]
) -> list[int]:  # water into vessels that stand side by side
    """Whole tokens that sum to `budget`, in proportion to the weights, none over its limit.

    Where the limits of what has a weight sum to less than the budget, all are filled.
    """
    taken = [0] * len(weights)
    open_to = [i for i, weight in enumerate(weights) if weight > 0]
    left = min(budget, sum(limits[i] for i in open_to))
    while open_to:
        whole = sum(weights[i] for i in open_to)
        full = [i for i in open_to if left * weights[i] / whole >= limits[i]]
        if not full:
            break
        for i in full:
            taken[i] = limits[i]
        left -= sum(limits[i] for i in full)
        open_to = [i for i in open_to if i not in set(full)]
    if not open_to:
        return taken
    whole = sum(weights[i] for i in open_to)
    parts = {i: left * weights[i] / whole for i in open_to}
    for i, part in parts.items():
        taken[i] = int(part)
    rest = left - sum(taken[i] for i in open_to)
    for i in sorted(open_to, key=lambda i: (int(parts[i]) - parts[i], i))[:rest]:
        taken[i] += 1
    return taken


def share_stage(
    budget: int, cells: Sequence[Cell], there: Sequence[int], limits: Sequence[int],
    mixture: StageMixture, source_weights: Mapping[str, float],
) -> list[int]:  # fmt: skip
    """Tokens of each cell of a stage: by source first, then within each source.

    `there` are the tokens that a cell has in the stage's pool, `limits` the most it may give. The
    sum is less than `budget` only where nothing may give more.
    """
    weights = [
        tokens * mixture.weight(cell, source_weights)
        for cell, tokens in zip(cells, there, strict=True)
    ]
    sources = sorted({cell.source for cell in cells})
    members = {s: [i for i, cell in enumerate(cells) if cell.source == s] for s in sources}
    asked = [sum(weights[i] for i in members[s]) for s in sources]
    most = [
        min(sum(limits[i] for i in members[s] if weights[i] > 0),
            int(mixture.max_share.get(s, 1.0) * budget))
        for s in sources
    ]  # fmt: skip
    found = [0] * len(cells)
    for source, tokens in zip(sources, share_out(budget, asked, most), strict=True):
        inside = members[source]
        parts = share_out(tokens, [weights[i] for i in inside], [limits[i] for i in inside])
        for i, part in zip(inside, parts, strict=True):
            found[i] = part
    return found
