"""Which documents are labelled: a stratified, deterministic draw, split by group.

Strata are source x kind x length (thirds). Every stratum gives the same number where it can, so
that rare sources and lengths are learnt too; what a small stratum lacks, the others give. Within a
stratum the order is that of a hash of the document's id and the seed: the draw does not depend on
shards or on the order of reading, and a larger sample contains the smaller one's documents of each
stratum. Groups held out for validation are never labelled.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipeline.records import read_batches
from pipeline.splits import ValidationConfig, in_validation, place_of

LENGTHS = ("short", "middle", "long")


@dataclass(frozen=True)
class Candidate:
    """A document that may be labelled, without its text."""

    doc_id: str
    source: str
    kind: str
    group: str
    length_bytes: int


@dataclass(frozen=True)
class Sample:
    """The drawn documents in the order of their ids, and where they come from."""

    drawn: list[Candidate]
    strata: Mapping[str, tuple[int, int]]  # drawn and available by "source/kind/length"
    held_out: int  # candidates in validation groups
    active: int = 0  # of the drawn, chosen where a first forest was least certain

    @property
    def kinds(self) -> set[str]:
        """The kinds of the drawn documents."""
        return {candidate.kind for candidate in self.drawn}


def read_candidates(paths: Iterable[Path]) -> list[Candidate]:
    """Every document's id, source, kind, group and length; no text stays in memory."""
    found = []
    for batch in read_batches(paths, ["doc_id", "source", "kind", "group", "text"]):
        lengths = pc.binary_length(batch["text"]).to_pylist()
        columns = (batch[name].to_pylist() for name in ("doc_id", "source", "kind", "group"))
        found += [Candidate(*row) for row in zip(*columns, lengths, strict=True)]
    return found


def draw_sample(
    candidates: Iterable[Candidate],
    size: int,
    seed: int,
    validation: ValidationConfig,
    always: frozenset[str] = frozenset(),
) -> Sample:
    """Draw `size` documents, or all that there are; those in `always` come on top."""
    everyone = list(candidates)
    free = [c for c in everyone if not in_validation(c.group, seed, validation)]
    strata: dict[str, list[Candidate]] = defaultdict(list)
    for candidate, stratum in zip(free, strata_of(free), strict=True):
        strata[stratum].append(candidate)
    counts = share_out(size, {name: len(members) for name, members in strata.items()})
    drawn: list[Candidate] = []
    taken = {}
    for name, members in strata.items():
        ranked = sorted(members, key=lambda c: _rank(c.doc_id, seed))
        named = [c for c in ranked[counts[name] :] if c.doc_id in always]
        drawn += ranked[: counts[name]] + named
        taken[name] = counts[name] + len(named)
    return Sample(
        sorted(drawn, key=lambda c: c.doc_id),
        {name: (taken[name], len(strata[name])) for name in sorted(strata)},
        len(everyone) - len(free),
    )


def strata_of(candidates: list[Candidate]) -> list[str]:
    """Each one's source, kind, and third of its source's lengths."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for candidate in candidates:
        by_source[candidate.source].append(candidate.length_bytes)
    cuts = {name: np.quantile(sizes, [1 / 3, 2 / 3]) for name, sizes in by_source.items()}
    thirds = (LENGTHS[int(np.searchsorted(cuts[c.source], c.length_bytes))] for c in candidates)
    return [f"{c.source}/{c.kind}/{third}" for c, third in zip(candidates, thirds, strict=True)]


def split_of(group: str, seed: int, test_share: float) -> str:
    """`test` or `train`: the same for every document of a group."""
    return "test" if place_of(group, seed, "label") < test_share else "train"


def share_out(size: int, available: Mapping[str, int]) -> dict[str, int]:
    """Equal parts for all strata; what a small one cannot give is asked of the others."""
    given = dict.fromkeys(sorted(available), 0)
    left = min(size, sum(available.values()))
    while left:
        open_strata = [name for name in given if given[name] < available[name]]
        part = max(1, left // len(open_strata))
        for name in open_strata:
            more = min(part, available[name] - given[name], left)
            given[name], left = given[name] + more, left - more
    return given


def _rank(doc_id: str, seed: int) -> str:
    return hashlib.sha256(f"label\x00{seed}\x00{doc_id}".encode()).hexdigest()
