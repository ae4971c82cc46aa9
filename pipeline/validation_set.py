"""The pinned validation set: held-out text on which every arm's model is measured alike.

It is made of the groups held out from every arm, in the order of a hash, with an equal part of its
bytes from each kind where there is enough: no number of shards or arms changes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.errors import StageError
from pipeline.records import read_rows
from pipeline.score_table import ID, ScoreTable
from pipeline.splits import ValidationConfig, in_validation, place_of
from pipeline.stage import Sealed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VALIDATION = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("n_bytes", pa.int64(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("tokens", pa.list_(pa.uint32()), nullable=False),
    ]
)


def choose_validation(
    arms: Sealed, document_bytes: int, seed: int, held_out: ValidationConfig,
    tokenizer: Tokenizer, scores: ScoreTable,
) -> list[dict[str, Any]]:  # fmt: skip
    """The held-out documents, cut, with scores and tokens; StageError when there are none.

    The texts are read twice, so that only those that are chosen are held in memory.
    """
    sizes = [
        (place_of(row["doc_id"], seed, "validation-order"), row["doc_id"], row["kind"],
         len(_cut(row["text"], document_bytes).encode()))
        for row in _held_out(arms, ["doc_id", "group", "kind", "text"], seed, held_out)
    ]  # fmt: skip
    if not sizes:
        raise StageError(
            "tokenize",
            f"no document is held out: none of the groups fell into validation.share = "
            f"{held_out.share}",
            "raise validation.share, name finer groups (group_depth), or change the seed",
        )
    order = {doc_id: i for i, doc_id in enumerate(_balanced(sorted(sizes), held_out.max_bytes))}
    if not order:
        raise StageError(
            "tokenize",
            f"each of {len(sizes)} held-out documents is larger than its kind's part of "
            f"validation.max_bytes = {held_out.max_bytes}",
            "raise validation.max_bytes, or lower tokenize.validation_document_bytes",
        )
    columns = ["doc_id", "kind", "source", "group", "text"]
    rows = [r for r in _held_out(arms, columns, seed, held_out) if r["doc_id"] in order]
    rows.sort(key=lambda row: order[row["doc_id"]])
    score, keep = scores.of(np.array([row["doc_id"] for row in rows], ID))
    for i, row in enumerate(rows):
        text = _cut(row["text"], document_bytes)
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        row |= {"text": text, "n_bytes": len(text.encode()), "score": float(score[i]),
                "keep": bool(keep[i]), "tokens": tokens}  # fmt: skip
    return rows


def _held_out(
    arms: Sealed, columns: list[str], seed: int, held_out: ValidationConfig
) -> Iterator[dict[str, Any]]:
    for row in read_rows(arms.files("arms/raw/*.parquet"), columns):
        if in_validation(row["group"], seed, held_out):
            yield row


def _cut(text: str, document_bytes: int) -> str:
    return text.encode()[:document_bytes].decode("utf-8", "ignore")


def _balanced(sizes: list[tuple[float, str, str, int]], max_bytes: int) -> Iterator[str]:
    """Ids in order; each kind gets half of the bytes, or what the other leaves."""
    there: Counter[str] = Counter()
    for _, _, kind, size in sizes:
        there[kind] += size
    left, limit = max_bytes, {}
    for i, kind in enumerate(sorted(there, key=lambda kind: (there[kind], kind))):
        limit[kind] = min(there[kind], left // (len(there) - i))
        left -= limit[kind]
    taken: Counter[str] = Counter()
    for _, doc_id, kind, size in sizes:
        if taken[kind] + size <= limit[kind]:
            taken[kind] += size
            yield doc_id


def bytes_per_token(validation: list[dict[str, Any]]) -> dict[str, float]:
    """Of the validation text, by kind."""
    size: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for row in validation:
        size[row["kind"]] += row["n_bytes"]
        tokens[row["kind"]] += len(row["tokens"])
    return {kind: round(size[kind] / tokens[kind], 3) for kind in sorted(size)}
