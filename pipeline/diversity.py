"""How diverse sets of texts are, and whether one is more so than another.

Nearly every measure of diversity depends on how much is measured: a longer text has a smaller share
of distinct n-grams, and a larger set more near copies. So sets are compared on samples of one size
(`compare_sets`): ten draws of half the smallest set, with as many words for what is about words, as
many bytes for compression, and as many pieces for what is about pieces; for self-BLEU each piece is
cut to one length, too. Stated are the mean and the least and most of the draws: how much of a
difference is chance. The figures of a whole set stand beside them, for itself alone.

Vectors come from an encoder where one is given, and else from the project's word embedding; the
report says which. The embedding and the topics are learnt from one half of the reference, and the
other half is measured: what a set has shaped would flatter it (more than twofold in Vendi scores).
Sources are named in `ngram_diversity`, `vendi`, `topics` and `near_copies`.

What it costs: 10 to 20 s for three sets of 2,000 pieces of 400 words, mostly counting n-grams; an
encoder adds 50 ms or more a piece, for at most 2,000 pieces a set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.near_copies import Signature, nearest_earlier, signatures
from pipeline.near_meaning import TextEncoder, Vectors, unit_vectors
from pipeline.ngram_diversity import (
    BLEU_ORDERS,
    ORDERS,
    Numbers,
    compression_ratio,
    distinct_share,
    entropy_bits,
    far_compression_ratio,
    list_grams,
    number_words,
    self_bleu,
)
from pipeline.topics import Topics, find_topics, topic_coverage, topic_entropy
from pipeline.vendi import vendi_score

LIMITS = (0.5, 0.7, 0.8)  # of similarity, for near copies
REFERENCE = "human_reference"  # the set that shapes topics, and the word embedding
HIGHER, LOWER = "more diverse", "less diverse"  # what a greater figure means
MEASURES = {
    **{f"distinct_{n}": HIGHER for n in ORDERS},
    **{f"entropy_{n}_bits": HIGHER for n in ORDERS},
    "self_bleu_4": LOWER,
    "compression_ratio": LOWER,
    "far_compression_ratio": LOWER,
    **{f"near_duplicate_share_{limit}": LOWER for limit in LIMITS},
    "vendi_score": HIGHER,
    "topic_entropy": HIGHER,
    "topic_coverage": HIGHER,
}
_DRAWS = 10
_MOST_PIECES = 10_000  # of a set; of a larger one so many are drawn
_MOST_EMBEDDED = 2_000
_MOST_SAMPLED = {"words": 100_000, "bytes": 600_000, "pieces": 500}
_DIGITS = 6  # what is beyond differs between processors
_BINS = 20  # of the histogram of similarities

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Sample:
    """How much of each set a draw takes."""

    draws: int
    words: int
    bytes: int
    pieces: int
    words_a_piece: int  # for self-BLEU


@dataclass(frozen=True)
class Read:
    """A set as it is measured: N pieces, the first of them embedded (of the reference, half)."""

    given: int  # pieces, before any were left out
    texts: Sequence[str]
    words: Sequence[Numbers]
    sketches: Signature
    vectors: Vectors
    topics: npt.NDArray[np.int64]


def measure_diversity(texts: Sequence[str], seed: int) -> dict[str, Any]:
    """The measures of a whole set that need no vectors; null where there is too little."""
    chosen = _choose(texts, _MOST_PIECES, seed)
    return _measure_whole(len(texts), chosen, number_words(chosen, {}), signatures(chosen))


def compare_sets(
    sets: Mapping[str, Sequence[str]], seed: int, encoder: TextEncoder | None = None
) -> dict[str, Any]:
    """The figures of each set, whole and on equal samples, and what they were measured by.

    The set named `human_reference` is the reference; without it, the first set is.
    """
    reference = REFERENCE if REFERENCE in sets else next(iter(sets))
    read, topics = _read_sets(sets, reference, seed, encoder)
    sample = _sample_of(list(read.values()))
    found = {}
    for name, one in read.items():
        whole = _measure_whole(one.given, one.texts, one.words, one.sketches)
        draws = [_measure_draw(one, sample, topics, seed, i) for i in range(sample.draws)]
        nearest = nearest_earlier(one.sketches)[1:]
        found[name] = {
            **whole,
            "at_equal_size": {measure: _spread(draws, measure) for measure in MEASURES},
            "topics": _topic_shares(one.topics, topics),
            "nearest": np.histogram(nearest, _BINS, (0, 1))[0].tolist(),
        }
    trained = f"word embedding trained on half of {reference}"
    return {
        "sets": found,
        "sample": vars(sample),
        "reference": reference,
        "vectors": "the encoder that was given" if encoder else trained,
        "topics": list(topics.names) if topics else [],
    }


def _read_sets(
    sets: Mapping[str, Sequence[str]], reference: str, seed: int, encoder: TextEncoder | None
) -> tuple[dict[str, Read], Topics | None]:
    chosen = {name: _choose(texts, _MOST_PIECES, seed) for name, texts in sets.items()}
    half = -(-len(chosen[reference]) // 2)
    learnt_from = chosen[reference][half:][:_MOST_EMBEDDED]
    embedded = {name: texts[:_MOST_EMBEDDED] for name, texts in chosen.items()}
    embedded[reference] = embedded[reference][:half]
    all_texts = [text for texts in chosen.values() for text in texts]
    encoder = encoder or _word_embedding(learnt_from or all_texts, seed)
    vectors = {name: _embed(encoder, texts) for name, texts in embedded.items()}
    topics = find_topics(_embed(encoder, learnt_from), learnt_from, seed)
    vocabulary: dict[str, int] = {}
    read = {
        name: Read(
            len(sets[name]),
            texts,
            number_words(texts, vocabulary),
            signatures(texts),
            vectors[name],
            topics.of(vectors[name]) if topics else np.zeros(0, np.int64),
        )
        for name, texts in chosen.items()
    }
    return read, topics


def _choose(texts: Sequence[str], most: int, seed: int) -> list[str]:
    """At most so many of the texts, in an order that the seed decides."""
    order = np.random.default_rng([seed, len(texts)]).permutation(len(texts))
    return [texts[i] for i in order[:most]]


def _word_embedding(texts: Sequence[str], seed: int) -> TextEncoder | None:
    import pyarrow as pa

    from classifiers.embedding import WordEmbedding

    return WordEmbedding(seed=seed).fit(pa.array(texts, pa.large_string())) if texts else None


def _embed(encoder: TextEncoder | None, texts: Sequence[str]) -> Vectors:
    if encoder is None or not texts:
        return np.zeros((0, 1), np.float32)
    return unit_vectors(encoder, texts)


def _sample_of(sets: Sequence[Read]) -> Sample:
    """Half of what the smallest set has, so that draws differ, up to what is quickly measured."""

    def half(least: Callable[[Read], int], most: int) -> int:
        return min([most, *(-(-least(one) // 2) for one in sets if one.texts)])

    return Sample(
        draws=_DRAWS,
        words=half(lambda one: sum(map(len, one.words)), _MOST_SAMPLED["words"]),
        bytes=half(lambda one: sum(len(t.encode()) for t in one.texts), _MOST_SAMPLED["bytes"]),
        pieces=half(lambda one: len(one.vectors), _MOST_SAMPLED["pieces"]),
        words_a_piece=min(
            (int(np.median([len(w) for w in one.words])) for one in sets if one.texts), default=0
        ),
    )


def _measure_whole(
    given: int, texts: Sequence[str], words: Sequence[Numbers], sketches: Signature
) -> dict[str, Any]:
    grams = list_grams(words, max(ORDERS))
    nearest = nearest_earlier(sketches)
    return {
        "pieces": given,
        "pieces_measured": len(texts),
        "words": sum(map(len, words)),
        **{f"distinct_{n}": _rounded(distinct_share(grams[n - 1][0])) for n in ORDERS},
        "self_bleu_4": _rounded(self_bleu(words[: _MOST_SAMPLED["pieces"]])),
        "compression_ratio": _rounded(compression_ratio("\n".join(texts).encode())),
        "near_duplicate_share": {
            str(limit): _rounded(float(np.mean(nearest > limit)) if len(nearest) else None)
            for limit in LIMITS
        },
    }


def _measure_draw(
    one: Read, sample: Sample, topics: Topics | None, seed: int, turn: int
) -> Figures:
    """The figures of one draw from a set; pieces that are embedded stand for all."""
    generator = np.random.default_rng([seed, turn])
    order = generator.permutation(len(one.texts))
    grams = list_grams(_cut([one.words[i] for i in order], sample.words), max(ORDERS))
    raw = "\n".join(one.texts[i] for i in order).encode()[: sample.bytes]
    # in their order, so that "an earlier twin" means what it means in the whole
    rows = np.sort(generator.permutation(len(one.vectors))[: sample.pieces])
    short = [one.words[i][: max(sample.words_a_piece, BLEU_ORDERS)] for i in rows]
    nearest = nearest_earlier(one.sketches[rows])
    labels, count = one.topics[rows] if topics else one.topics, len(topics.names) if topics else 0
    return {
        **{f"distinct_{n}": distinct_share(grams[n - 1][0]) for n in ORDERS},
        **{f"entropy_{n}_bits": entropy_bits(grams[n - 1][0]) for n in ORDERS},
        "self_bleu_4": self_bleu(short),
        "compression_ratio": compression_ratio(raw),
        "far_compression_ratio": far_compression_ratio(raw),
        **{
            f"near_duplicate_share_{limit}": float(np.mean(nearest > limit)) if len(rows) else None
            for limit in LIMITS
        },
        "vendi_score": vendi_score(one.vectors[rows]),
        "topic_entropy": topic_entropy(labels, count),
        "topic_coverage": topic_coverage(labels, count),
    }


def _cut(pieces: Sequence[Numbers], words: int) -> list[Numbers]:
    """The first pieces that have so many words together, the last one cut."""
    kept: list[Numbers] = []
    for piece in pieces:
        if words <= 0:
            break
        kept.append(piece[:words])
        words -= len(piece)
    return kept


def _spread(draws: Sequence[Figures], measure: str) -> dict[str, float] | None:
    values = [figures[measure] for figures in draws]
    told = [value for value in values if value is not None]
    if not told:
        return None
    spread = {"mean": float(np.mean(told)), "least": min(told), "most": max(told)}
    return {name: round(value, _DIGITS) for name, value in spread.items()}


def _topic_shares(labels: npt.NDArray[np.int64], topics: Topics | None) -> list[float]:
    if topics is None or not len(labels):
        return []
    counts = np.bincount(labels, minlength=len(topics.names))
    return [round(float(share), _DIGITS) for share in counts / len(labels)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
