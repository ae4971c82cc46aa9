"""Active sampling: which documents to label next, once a first random round has labels.

A forest is trained on the first round, with the features and the model of stage 4: it is that
filter's doubts that matter. It judges a pool of the documents that have no label. Most of the next
round is drawn at random from the least certain ones (a probability of the positive class near one
half), a few from each group at most: whoever takes only the very least certain ones learns from
near copies and from noise. The rest goes to thin strata, those with the fewest labels.

What it costs: about a second, and the documents read twice. No text stays in memory but those of
the labelled documents and of a sample for the word embedding. docs/active.md says what it brings.
Source: Lewis and Gale, "A Sequential Algorithm for Training Text Classifiers" (1994).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.config import Section
from pipeline.records import read_batches
from pipeline.sampling import Candidate, share_out, strata_of
from pipeline.splits import place_of

if TYPE_CHECKING:
    from classifiers.features import Features
    from classifiers.forest import FilterForest

_FOLDS = 5  # of the forest's training, and so the fewest labels of each class
_FEWEST_GROUPS = 2  # of each class: a fold must be able to hold one out
_EMBEDDED = 2_000  # texts of the pool that the word embedding is trained on
_MAX_TEXT_CHARS = 200_000  # a longer text tells little more


class ActiveConfig(Section):
    """How the documents of an active round are chosen."""

    share: float = Field(
        0.5, gt=0, lt=1, description="Share of the sample that is chosen; the rest comes first."
    )
    positive_score_min: int = Field(
        3, ge=1, le=5, description="Labels from here up are the positive class of the first forest."
    )
    thin_share: float = Field(
        0.25, ge=0, le=1, description="Share of the round for strata with the fewest labels."
    )
    per_group: int = Field(
        10, ge=1, le=1_000_000,
        description="Uncertain documents of a group at most, while other groups have some left.",
    )  # fmt: skip
    reach: int = Field(
        3, ge=1, le=1_000,
        description="The uncertain ones are drawn from so many times as many least certain ones.",
    )  # fmt: skip
    pool: int = Field(
        20_000, ge=100, le=1_000_000, description="Unlabelled documents that are judged at most."
    )
    trees: int = Field(60, ge=10, le=2_000, description="Trees of the forest that judges them.")


@dataclass(frozen=True)
class Choice:
    """The documents of the next round in the order of their ids, and why they were chosen."""

    chosen: list[Candidate]
    uncertain: int  # of them, where the forest was least certain
    thin: int  # of them, for the strata with the fewest labels
    no_forest: str | None = None  # why no forest could be asked, so that all are for thin strata


def choose_next(
    candidates: Iterable[Candidate],
    documents: Sequence[Path],
    labelled: Mapping[str, int | None],
    size: int,
    seed: int,
    config: ActiveConfig | None = None,
    positive_score_min: int = 3,
) -> Choice:
    """Choose `size` documents to label next, or all that are left.

    `candidates` are all documents that may be trained on, those with labels among them; the caller
    leaves out the groups of validation and of the split "test", whose documents must never be
    chosen actively: a filter is judged on a random sample or not at all. `labelled` has the scores
    (0 to 5) of the first round by `doc_id`, None where the answer could not be used; labels of
    other documents, such as those of the test split, are not looked at. `documents` are the Parquet
    files with the texts, in any order; the choice depends on it as little as on that of
    `candidates`. Raises ValueError where the files lack a document.
    """
    config = config or ActiveConfig()
    everyone = sorted(candidates, key=lambda c: c.doc_id)
    known = {c: score for c in everyone if (score := labelled.get(c.doc_id)) is not None}
    free = [c for c in everyone if c.doc_id not in labelled]
    size = min(size, len(free))
    judged = [*known, *free]
    stratum_of = dict(zip(judged, strata_of(judged), strict=True))
    ranked = sorted(free, key=lambda c: place_of(c.doc_id, seed, "active"))  # a fixed random order
    no_forest = _lack(known, positive_score_min)
    uncertain: list[Candidate] = []
    wanted = size - round(config.thin_share * size)
    if wanted and not no_forest:
        pool = _by_strata(ranked, stratum_of, Counter(), config.pool)
        model = _learn(documents, known, pool[:_EMBEDDED], seed, config.trees, positive_score_min)
        doubts = _doubts(model, documents, pool)
        uncertain = _spread(_least_certain(pool, doubts, config.reach * wanted), wanted, config)
    taken = set(uncertain)
    have = Counter(stratum_of[c] for c in (*known, *uncertain))
    left = [c for c in ranked if c not in taken]
    thin = _by_strata(left, stratum_of, have, size - len(uncertain))
    chosen = sorted([*uncertain, *thin], key=lambda c: c.doc_id)
    return Choice(chosen, len(uncertain), len(thin), no_forest)


def _by_strata(
    ranked: list[Candidate], stratum_of: Mapping[Candidate, str], have: Counter[str], size: int
) -> list[Candidate]:
    """The first of each stratum, so that all have as equal a number as can be with `have`."""
    available = Counter(stratum_of[c] for c in ranked) + have

    def lacking(total: int) -> Counter[str]:
        """What strata lack of their parts of `total`; more lack with each, one at most."""
        return Counter(share_out(total, available)) - have

    everything = available.total()
    total = bisect_left(range(everything), size, key=lambda total: lacking(total).total())
    open_for = lacking(total)
    chosen = []
    for c in ranked:
        if open_for[stratum_of[c]] > 0:
            open_for[stratum_of[c]] -= 1
            chosen.append(c)
    return chosen


def _lack(known: Mapping[Candidate, int], positive_score_min: int) -> str | None:
    """What keeps a forest from being trained on these labels."""
    sides: dict[bool, list[Candidate]] = {True: [], False: []}
    for c, score in known.items():
        sides[score >= positive_score_min].append(c)
    for name, side in (("positive", sides[True]), ("negative", sides[False])):
        groups = len({c.group for c in side})
        if len(side) < _FOLDS or groups < _FEWEST_GROUPS:
            return (
                f"{len(side)} {name} labels from {groups} groups, and a forest needs {_FOLDS} "
                f"from {_FEWEST_GROUPS}"
            )
    return None


@dataclass(frozen=True)
class _Model:
    """What the first round made."""

    features: Features
    forest: FilterForest


def _learn(
    documents: Sequence[Path],
    known: Mapping[Candidate, int],
    embedded: list[Candidate],
    seed: int,
    trees: int,
    positive_score_min: int,
) -> _Model:
    """The features and the forest of stage 4, without the calibration: it moves no doubt."""
    from classifiers.embedding import WordEmbedding
    from classifiers.features import Features, dense_features
    from classifiers.forest import FilterForest

    scores = {c.doc_id: score for c, score in known.items()}
    groups = {c.doc_id: c.group for c in known}
    wanted = {*scores, *(c.doc_id for c in embedded)}
    read = pa.Table.from_batches(_read(documents, wanted)).sort_by("doc_id")
    embedding = WordEmbedding(seed=seed).fit(read["text"])
    ours = read.filter(pc.is_in(read["doc_id"], value_set=pa.array(sorted(scores), pa.string())))
    ids, texts = ours["doc_id"].to_pylist(), ours["text"]
    forest = FilterForest(
        trees, positive_score_min=positive_score_min, folds=_FOLDS, seed=seed, workers=1
    ).fit(
        dense_features(embedding, texts, ours["kind"]),
        embedding.bags(texts),
        np.array([scores[i] for i in ids], np.int64),
        np.array([groups[i] for i in ids], object),
    )
    table = np.column_stack([embedding.table_, forest.lexical_])
    return _Model(Features(embedding.idf_, table), forest)


def _doubts(
    model: _Model, documents: Sequence[Path], pool: list[Candidate]
) -> npt.NDArray[np.float64]:
    """float64[N]: how near the probability of the positive class is to one half; 0 is nearest.

    The forest weighs both classes alike, so one half is where it is torn, however rare one is.
    """
    from classifiers.votes import read_votes

    place = {c.doc_id: i for i, c in enumerate(pool)}
    doubts = np.zeros(len(pool))
    forest = model.forest.forest_
    for batch in _read(documents, place):
        columns = model.features.transform(batch["text"], batch["kind"])
        votes = forest.predict_proba(columns)
        judged = read_votes(votes, forest.classes_, model.forest.positive_score_min)
        doubts[[place[i] for i in batch["doc_id"].to_pylist()]] = np.abs(judged[:, 0] - 0.5)
    return doubts


def _read(documents: Sequence[Path], wanted: Collection[str]) -> Iterator[pa.RecordBatch]:
    """`doc_id`, `kind` and `text` of the wanted documents, in reading order."""
    ids = pa.array(sorted(wanted), pa.string())
    found = 0
    for batch in read_batches(documents, ["doc_id", "kind", "text"]):
        some = batch.filter(pc.is_in(batch["doc_id"], value_set=ids))
        if len(some) == 0:
            continue
        found += len(some)
        cut = pc.utf8_slice_codeunits(some["text"], 0, _MAX_TEXT_CHARS).cast(pa.large_string())
        yield some.set_column(some.schema.get_field_index("text"), "text", cut)
    if found < len(ids):
        raise ValueError(f"{len(ids) - found} of {len(ids)} documents are in none of the files")


def _least_certain(
    pool: list[Candidate], doubts: npt.NDArray[np.float64], reach: int
) -> list[Candidate]:
    """The pool, in its random order, the `reach` least certain ones before all others."""
    order = np.argsort(doubts, kind="stable")
    near, others = np.sort(order[:reach]), order[reach:]
    return [pool[i] for i in (*near, *others)]


def _spread(ranked: list[Candidate], size: int, config: ActiveConfig) -> list[Candidate]:
    """The first `size`, each group's part within the bound; it doubles where that is too few."""
    chosen: dict[Candidate, None] = {}
    of_group: Counter[str] = Counter()
    bound = config.per_group
    while len(chosen) < min(size, len(ranked)):
        for c in ranked:
            if len(chosen) < size and c not in chosen and of_group[c.group] < bound:
                chosen[c] = None
                of_group[c.group] += 1
        bound *= 2
    return list(chosen)
