"""Stage 10: write `handoff.json`, all that a trainer may know, and verify it before it counts.

Paths are relative to its own directory, so that a run may be moved as a whole. Where the recipe
names the variable of a key, the record is signed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.arms import ARMS
from pipeline.card import count_licences
from pipeline.config import Section
from pipeline.finetuning import FINETUNING
from pipeline.handoff_record import (
    HANDOFF,
    HANDOFF_VERSION,
    Arm,
    Contamination,
    HandedFile,
    Handoff,
    Shard,
    TrainingRecipe,
    Validation,
    handed_files,
    open_handoff,
)
from pipeline.handoff_signature import KEY_VARIABLE, sign
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Sealed, Stage, Workplace
from pipeline.token_shards import INDEX

# Parameters of the trainer's sizes by name; a test holds the names to downstream.shape's.
PRESETS = {"1M": 1e6, "2M": 2e6, "15M": 15e6, "30M": 30e6, "125M": 125e6, "350M": 350e6, "1B": 1e9}


class HandoffConfig(Section):
    """What is suggested to the trainer, and whether the record is signed."""

    tokens_per_parameter: float = Field(
        20, gt=0, le=10_000,
        description="Chinchilla's 20 (arXiv 2203.15556); small models gain from far more. Where "
        "tokenize.budget_parameters is given, that decides.",
    )  # fmt: skip
    schedule: str = Field(
        "warm-up, stable on base, decay on anneal", description="In words, for the trainer."
    )
    key_variable: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable with the key that signs (HMAC-SHA256), such as "
        f"{KEY_VARIABLE}; null does not sign.",
    )  # fmt: skip


def handoff(place: Workplace) -> Outcome:
    """Build the record from the manifests, write it, open it again as the trainer will."""
    config, needs = place.section(HandoffConfig), place.needs
    tokenized, arms = needs["tokenize"], needs["decontaminate"]
    tokens = tokenized.facts
    record = Handoff(
        handoff_version=HANDOFF_VERSION,
        dataset=needs["card"].facts["title"],
        fingerprints=_fingerprints(needs["card"]),
        tokenizer=_file(tokenized, "tokenizer.json"),
        vocabulary=tokens["vocabulary"],
        token_dtype=tokens["token_dtype"],
        end_of_text=tokens["end_of_text"],
        arms=[_arm(name, tokenized, arms) for name in ARMS],
        validation=Validation(
            documents=_file(tokenized, "val/documents.parquet"),
            tokens=tokens["validation_tokens"],
            bytes=tokens["validation_bytes"],
        ),
        finetuning=_file(tokenized, FINETUNING) if tokens["finetuning"] else None,
        megatron=[_file(tokenized, name) for name in tokenized.manifest.files
                  if name.endswith((".bin", ".idx"))],
        mixture=tokens["arms"],
        contamination=_contamination(arms.facts),
        card=_file(needs["card"], "README.md"),
        teacher=_teacher(needs),
        suggestion=_suggestion(tokens, config),
    )  # fmt: skip
    path = place.out / HANDOFF
    path.write_text(_text(record, config.key_variable))
    files = len(handed_files(open_handoff(path, key_variable=config.key_variable)))
    facts = {"arms": list(ARMS), "budget_tokens": tokens["budget_tokens"],
             "signed": config.key_variable is not None}  # fmt: skip
    return Outcome(Ledger("files", files, files), facts)


def _text(record: Handoff, key_variable: str | None) -> str:
    if key_variable is not None:
        plain = json.loads(record.model_dump_json())
        record = record.model_copy(update={"signature": sign(plain, key_variable)})
    return record.model_dump_json(indent=1) + "\n"


def _contamination(facts: Mapping[str, Any]) -> Contamination:
    searched = bool(facts.get("hits"))
    return Contamination(**{**facts, "verdict": "searched" if searched else "not searched"})


def _suggestion(tokens: Mapping[str, Any], config: HandoffConfig) -> TrainingRecipe:
    """The size that the tokens are enough for, and the nearest of the trainer's presets."""
    budget = tokens["budget"]
    ratio = budget["tokens_per_parameter"] or config.tokens_per_parameter
    parameters = budget["parameters"] or max(1, round(budget["tokens"] / ratio))
    return TrainingRecipe(
        preset=min(PRESETS, key=lambda name: abs(math.log(PRESETS[name] / parameters))),
        parameters=parameters,
        tokens=budget["tokens"],
        tokens_per_parameter=ratio,
        schedule=config.schedule,
        decay_share=tokens["anneal_share"],
    )


def _file(sealed: Sealed, name: str) -> HandedFile:
    entry = sealed.manifest.files[name]
    path = f"../{sealed.path.name}/{name}"
    return HandedFile(path=path, sha256=entry.sha256, bytes=entry.bytes)


def _arm(name: str, tokenized: Sealed, arms: Sealed) -> Arm:
    facts = tokenized.facts["arms"][name]
    width = np.dtype(tokenized.facts["token_dtype"]).itemsize

    def shards(part: str) -> list[Shard]:
        files = tokenized.files(f"arms/{name}/{part}/*.ds")
        names = [f.relative_to(tokenized.path).as_posix() for f in files]
        records = [(_file(tokenized, n), _file(tokenized, n + INDEX)) for n in names]
        return [Shard(**r.model_dump(), tokens=r.bytes // width, index=i) for r, i in records]

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
    version=3,
    needs=("label", "synthesize", "decontaminate", "tokenize", "card"),
    makes=(HANDOFF,),
    sees=(HandoffConfig,),
    work=handoff,
)
