"""Stage 10: write `handoff.json`, all that a trainer may know, and verify it before it counts.

Paths are relative to its own directory, so that a run may be moved as a whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from pipeline.card import count_licences
from pipeline.config import Section
from pipeline.decontaminate import ARMS
from pipeline.handoff_record import (
    HANDOFF,
    HANDOFF_VERSION,
    Arm,
    HandedFile,
    Handoff,
    Shard,
    TrainingRecipe,
    Validation,
    handed_files,
    open_handoff,
)
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Sealed, Stage, Workplace


class HandoffConfig(Section):
    """What is suggested to the trainer."""

    tokens_per_parameter: float = Field(
        20, gt=0, le=10_000,
        description="Chinchilla's 20 (arXiv 2203.15556); small models gain from far more.",
    )  # fmt: skip
    schedule: str = Field(
        "warm-up, stable on base, decay on anneal", description="In words, for the trainer."
    )


def handoff(place: Workplace) -> Outcome:
    """Build the record from the manifests, write it, open it again as the trainer will."""
    config, needs = place.section(HandoffConfig), place.needs
    tokens = needs["tokenize"].facts
    budget: int = tokens["budget_tokens"]
    record = Handoff(
        handoff_version=HANDOFF_VERSION,
        dataset=needs["card"].facts["title"],
        fingerprints=_fingerprints(needs["card"]),
        tokenizer=_file(needs["tokenize"], "tokenizer.json"),
        vocabulary=tokens["vocabulary"],
        token_dtype=tokens["token_dtype"],
        end_of_text=tokens["end_of_text"],
        arms=[_arm(name, needs["tokenize"], needs["decontaminate"]) for name in ARMS],
        validation=Validation(
            documents=_file(needs["tokenize"], "val/documents.parquet"),
            tokens=tokens["validation_tokens"],
            bytes=tokens["validation_bytes"],
        ),
        mixture=tokens["arms"],
        contamination=dict(needs["decontaminate"].facts),
        card=_file(needs["card"], "README.md"),
        teacher=_teacher(needs),
        suggestion=TrainingRecipe(
            parameters=round(budget / config.tokens_per_parameter),
            tokens_per_parameter=config.tokens_per_parameter,
            schedule=config.schedule,
        ),
    )
    path = place.out / HANDOFF
    path.write_text(record.model_dump_json(indent=1) + "\n")
    files = len(handed_files(open_handoff(path)))
    return Outcome(Ledger("files", files, files), {"arms": list(ARMS), "budget_tokens": budget})


def _file(sealed: Sealed, name: str) -> HandedFile:
    entry = sealed.manifest.files[name]
    path = f"../{sealed.path.name}/{name}"
    return HandedFile(path=path, sha256=entry.sha256, bytes=entry.bytes)


def _arm(name: str, tokenized: Sealed, arms: Sealed) -> Arm:
    facts = tokenized.facts["arms"][name]
    width = np.dtype(tokenized.facts["token_dtype"]).itemsize

    def shards(part: str) -> list[Shard]:
        files = tokenized.files(f"arms/{name}/{part}/*.bin")
        records = [_file(tokenized, f.relative_to(tokenized.path).as_posix()) for f in files]
        return [Shard(**r.model_dump(), tokens=r.bytes // width) for r in records]

    return Arm(
        name=name,
        base=shards("base"),
        anneal=shards("anneal"),
        tokens=facts["tokens"],
        documents=facts["documents"],
        synthetic_tokens=facts["base_synthetic_tokens"] + facts["anneal_synthetic_tokens"],
        licences=count_licences(arms, name),
    )


def _fingerprints(card: Sealed) -> dict[str, str]:
    return {**card.manifest.needs, "card": card.manifest.fingerprint}


def _teacher(needs: Any) -> dict[str, Any]:
    label = needs["label"].facts
    return {
        "annotator": label["annotator"],
        "is_llm": label["annotator_is_llm"],
        "rubrics": label["rubrics"],
        "writer": needs["synthesize"].facts["writer"],
    }


STAGE = Stage(
    number=10,
    name="handoff",
    version=1,
    needs=("label", "synthesize", "decontaminate", "tokenize", "card"),
    makes=(HANDOFF,),
    sees=(HandoffConfig,),
    work=handoff,
)
