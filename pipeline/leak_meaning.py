"""Leaks by meaning, where an encoder is given: a paraphrase has other words and a near vector.

Documents are cut into passages of about the length of a question, half over half, and each
passage's vector is compared with every question's, exactly. An encoder reads some tens of passages
a second on one core, so this is for small or suspected corpora, and off by default. Cosines have a
scale of their own with each encoder: read some pairs before choosing the limit.

Source: Yang et al., "Rethinking Benchmark and Contamination for Language Models with Rephrased
Samples" (2023), arXiv 2311.04850.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.benchmark_items import Item
from pipeline.config import Section
from pipeline.leak_records import quoted
from pipeline.near_meaning import TextEncoder, Vectors, unit_vectors

_WORD = re.compile(r"\S+")


class MeaningRules(Section):
    """Search by meaning."""

    encoder: str = Field(description="The encoder's directory (classifiers.encoder).")
    min_cosine: float = Field(0.9, gt=0, le=1, description="Least cosine of a passage's vector.")
    passage_words: int = Field(60, ge=5, le=500, description="Length of a passage (words).")


@dataclass(frozen=True)
class MeaningIndex:
    """float32[N, dimensions] of N items' questions (or first texts), and which items they are."""

    vectors: Vectors
    owners: tuple[int, ...]


def make_meaning_index(
    items: Sequence[Item], rules: MeaningRules, encoder: TextEncoder | None = None
) -> MeaningIndex:
    """Encode every item, with an opened encoder or the one that the rules name."""
    owners = tuple(i for i, item in enumerate(items) if _said(item))
    said = [_said(items[i]) for i in owners]
    return MeaningIndex(unit_vectors(encoder or _open(rules.encoder), said), owners)


@functools.cache
def _open(directory: str) -> TextEncoder:
    """Once a process: an opened encoder does not travel to the workers."""
    from classifiers.encoder import Encoder

    return Encoder.open(directory)


def find_meaning(
    texts: Any, doc_ids: Sequence[str], items: Sequence[Item], index: MeaningIndex,
    rules: MeaningRules, encoder: TextEncoder | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The evidence rows of N texts: each item's nearest passage of each document."""
    encoder = encoder or _open(rules.encoder)
    for doc_id, text in zip(doc_ids, texts.to_pylist(), strict=True):
        spans = list(_passages(text, rules.passage_words))
        if not spans or not index.owners:
            continue
        vectors = unit_vectors(encoder, [text[a:b] for a, b in spans])
        cosines = vectors @ index.vectors.T  # [passages, items]
        nearest = cosines.argmax(axis=0)
        for k in np.flatnonzero(cosines.max(axis=0) >= rules.min_cosine):
            item, (first, last) = items[index.owners[k]], spans[int(nearest[k])]
            cosine = float(cosines[nearest[k], k])
            yield {
                "doc_id": doc_id, "benchmark": item.benchmark, "item": item.name,
                "part": "question", "kind": "meaning", "evidence": f"cosine {cosine:.3f}",
                "document_text": quoted(text, first, last),
                "item_text": quoted(_said(item), 0, len(_said(item))),
                "score": min(1.0, cosine),
            }  # fmt: skip


def _said(item: Item) -> str:
    return item.question or (item.alone[0][1] if item.alone else item.code)


def _passages(text: str, words: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) characters of passages, each beginning in the middle of the one before."""
    spans = [m.span() for m in _WORD.finditer(text)]
    step = max(1, words // 2)
    for i in range(0, max(1, len(spans) - step), step):
        if i < len(spans):
            yield spans[i][0], spans[min(i + words, len(spans)) - 1][1]
