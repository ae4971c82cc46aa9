"""Stage 2: drop what is not worth training on, with a reason; edit nothing.

Three passes. The shards are judged by rules and sketched (in parallel); one pass over the
sketches alone finds exact and near copies, keeping the first of each family in reading order; the
shards are filtered by the verdicts (in parallel, on Arrow batches). The middle pass holds one
signature and its index for each document that passed the rules: under 1 KiB each.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.clean_rules import (
    CodeRules,
    ProseRules,
    Verdict,
    find_secret,
    judge_code,
    judge_prose,
)
from pipeline.config import HOW, Section
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.near_copies import NearCopies, Signature, signature
from pipeline.records import DOCUMENT, DROPPED, read_batches, read_rows, write_table
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Stage, Workplace

_JUDGED = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("evidence", pa.string()),
        pa.field("sha256", pa.binary()),
        pa.field("sketch", pa.binary()),
    ]
)


class CleanConfig(Section):
    """What is dropped."""

    prose: ProseRules = Field(ProseRules(), description="Rules for prose; see its fields.")
    code: CodeRules = Field(CodeRules(), description="Rules for program text; see its fields.")
    max_similarity: float = Field(
        0.8, gt=0.3, lt=1, description="Documents more alike are near copies (Jaccard, 5-grams)."
    )
    workers: int = Field(
        2, ge=1, le=256, description="Shards worked on at once.", json_schema_extra=HOW
    )


def judge(text: str, kind: str, config: CleanConfig) -> Verdict | None:
    """Why one document is dropped whatever the others hold, or None."""
    rules = judge_code(text, config.code) if kind == "code" else judge_prose(text, config.prose)
    return find_secret(text) or rules


@dataclass(frozen=True)
class JudgeShard:
    """Pass 1: a verdict, a hash and a sketch for every document of a shard."""

    config: CleanConfig
    shards: list[Path]
    judged: Path

    def __call__(self, rank: int, world_size: int) -> Ledger:
        rows = write_table(self.judged / f"{rank:05}.parquet", self._rows(rank), _JUDGED)
        return Ledger("documents", rows, rows)

    def _rows(self, rank: int) -> Iterator[dict[str, Any]]:
        for row in read_rows([self.shards[rank]], ["doc_id", "text", "kind"]):
            verdict = judge(row["text"], row["kind"], self.config)
            kept = verdict is None
            yield {
                "doc_id": row["doc_id"],
                "reason": verdict.reason if verdict else None,
                "evidence": verdict.evidence if verdict else None,
                "sha256": hashlib.sha256(row["text"].encode()).digest() if kept else None,
                "sketch": signature(row["text"]).tobytes() if kept else None,
            }


@dataclass(frozen=True)
class FilterShard:
    """Pass 3: the documents of a shard that nothing speaks against."""

    shards: list[Path]
    dropped: pa.Array
    documents: Path

    def __call__(self, rank: int, world_size: int) -> Ledger:
        rows_in = kept = 0
        self.documents.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(
            self.documents / f"{rank:05}.parquet", DOCUMENT, compression="zstd"
        ) as writer:
            for batch in read_batches([self.shards[rank]]):
                rest = batch.filter(pc.invert(pc.is_in(batch["doc_id"], value_set=self.dropped)))
                rows_in, kept = rows_in + batch.num_rows, kept + rest.num_rows
                writer.write_batch(rest)
        return Ledger("documents", rows_in, kept, {"dropped": rows_in - kept})


def find_copies(
    judged: Iterator[dict[str, Any]], max_similarity: float
) -> Iterator[dict[str, str]]:
    """A dropped row for every document that has a verdict or an earlier twin, in reading order."""
    seen: dict[bytes, str] = {}
    index = NearCopies(max_similarity)
    for row in judged:
        doc_id, reason, evidence = row["doc_id"], row["reason"], row["evidence"]
        if reason is None:
            sketch: Signature = np.frombuffer(row["sketch"], dtype=np.uint32)
            if row["sha256"] in seen:
                reason, evidence = "exact_copy", f"of {seen[row['sha256']]}"
            elif twin := index.twin_of(sketch):
                reason, evidence = "near_copy", f"of {twin[0]}, similarity {twin[1]:.2f}"
            else:
                seen[row["sha256"]] = doc_id
                index.add(doc_id, sketch)
        if reason is not None:
            yield {"doc_id": doc_id, "reason": reason, "evidence": evidence}


def clean(place: Workplace) -> Outcome:
    """Judge, find copies, filter."""
    config = place.section(CleanConfig)
    shards = place.needs["ingest"].files("documents/*.parquet")
    judged = place.scratch / "judged"
    total = run_shards(
        place,
        "judging",
        JudgeShard(config, shards, judged),
        "documents",
        len(shards),
        config.workers,
    )
    copies = find_copies(read_rows(sorted(judged.iterdir())), config.max_similarity)
    dropped = list(copies)
    write_table(place.out / "dropped.parquet", dropped, DROPPED)
    ids = pa.array([row["doc_id"] for row in dropped], pa.string())
    work = FilterShard(shards, ids, place.out / "documents")
    written = run_shards(place, "filtering", work, "documents", len(shards), 1)
    if written.kept == 0:
        raise StageError(
            "clean",
            f"all {total.rows_in} documents were dropped",
            "loosen clean.prose and clean.code, or look at the sources",
        )
    reasons = Counter(row["reason"] for row in dropped)
    return Outcome(
        Ledger("documents", total.rows_in, written.kept, dict(sorted(reasons.items()))),
        {"documents": written.kept},
    )


STAGE = Stage(
    number=2,
    name="clean",
    version=1,
    needs=("ingest",),
    makes=("documents/*.parquet", "dropped.parquet"),
    sees=(CleanConfig,),
    work=clean,
)
