"""The pinned validation set: held-out text on which every arm's model is measured alike.

It is made of the groups held out from every arm, in the order of a hash, with an equal part of its
bytes from each kind where there is enough: no number of shards or arms changes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import StageError
from pipeline.records import read_rows
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
    tokenizer: Tokenizer, score_of: dict[str, tuple[float, bool]],
) -> list[dict[str, Any]]:  # fmt: skip
    """The held-out documents, cut, with scores and tokens; StageError when there are none."""
    rows = [
        row
        for row in read_rows(arms.files("arms/raw/*.parquet"))
        if in_validation(row["group"], seed, held_out)
    ]
    if not rows:
        raise StageError(
            "tokenize",
            f"no document is held out: none of the groups fell into validation.share = "
            f"{held_out.share}",
            "raise validation.share, name finer groups (group_depth), or change the seed",
        )
    rows.sort(key=lambda row: place_of(row["doc_id"], seed, "validation-order"))
    chosen = _balanced(rows, held_out.max_bytes, document_bytes)
    found = []
    for row, text in chosen:
        score, keep = score_of[row["doc_id"]]
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        found.append(
            {**{name: row[name] for name in ("doc_id", "kind", "source", "group")},
             "text": text, "n_bytes": len(text.encode()), "score": score, "keep": keep,
             "tokens": tokens}
        )  # fmt: skip
    if not found:
        raise StageError(
            "tokenize",
            f"each of {len(rows)} held-out documents is larger than its kind's part of "
            f"validation.max_bytes = {held_out.max_bytes}",
            "raise validation.max_bytes, or lower tokenize.validation_document_bytes",
        )
    return found


def _balanced(
    rows: list[dict[str, Any]], max_bytes: int, document_bytes: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """Documents in order, cut; each kind gets half of the bytes, or what the other leaves."""
    texts = [r["text"].encode()[:document_bytes].decode("utf-8", "ignore") for r in rows]
    sizes: Counter[str] = Counter()
    for row, text in zip(rows, texts, strict=True):
        sizes[row["kind"]] += len(text.encode())
    left, limit = max_bytes, {}
    for i, kind in enumerate(sorted(sizes, key=lambda kind: (sizes[kind], kind))):
        limit[kind] = min(sizes[kind], left // (len(sizes) - i))
        left -= limit[kind]
    taken: Counter[str] = Counter()
    for row, text in zip(rows, texts, strict=True):
        size = len(text.encode())
        if taken[row["kind"]] + size <= limit[row["kind"]]:
            taken[row["kind"]] += size
            yield row, text


def bytes_per_token(validation: list[dict[str, Any]]) -> dict[str, float]:
    """Fertility, told the other way round, by kind."""
    size: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for row in validation:
        size[row["kind"]] += row["n_bytes"]
        tokens[row["kind"]] += len(row["tokens"])
    return {kind: round(size[kind] / tokens[kind], 3) for kind in sorted(size)}
