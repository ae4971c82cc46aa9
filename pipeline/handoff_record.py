"""The handoff: everything that a trainer may know, in one file that it can verify.

`handoff.json` is the one door from curating to training. The trainer opens it with
`open_handoff`, which checks every byte that it names, and reads nothing else. Where a key is
configured the record is signed (`handoff_signature`), so that the hashes themselves are vouched
for; docs/handoff.md tells how to check it without Primer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError, StageError
from pipeline.handoff_signature import Signature, check_signature
from pipeline.manifest import hash_file

HANDOFF_VERSION = 2
HANDOFF = "handoff.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Versioned(BaseModel):
    handoff_version: int


class HandedFile(_Record):
    """One file of the dataset; `path` is relative to the directory of `handoff.json`."""

    path: str
    sha256: str
    bytes: int


class Shard(HandedFile):
    """Token ids, little-endian unsigned integers of the handoff's `token_dtype`, no header.

    It is datatrove's `.ds`; `index` (`.ds.index`) holds the end of every document as uint64,
    counted in tokens from the shard's begin. The last token before each end is `end_of_text`.
    """

    tokens: int
    index: HandedFile


class Arm(_Record):
    """One answer to "which data?": `base` is trained on first, `anneal` while the rate decays."""

    name: str
    base: list[Shard]
    anneal: list[Shard]
    tokens: int
    documents: int
    synthetic_tokens: int
    licences: dict[str, int] = Field(description="Documents by licence; the key 'unknown' is null.")


class Validation(_Record):
    """The pinned held-out text, the same for every arm.

    `documents` is a Parquet file with doc_id, kind, source, group, text, n_bytes, score, keep and
    tokens (list of token ids, without the end-of-text token).
    """

    documents: HandedFile
    tokens: int
    bytes: int


class TrainingRecipe(_Record):
    """A suggestion; the trainer may decide otherwise, and then says so."""

    preset: str = Field(description="The named size that is nearest to `parameters`.")
    parameters: int
    tokens: int = Field(description="Of one arm, base and anneal together.")
    tokens_per_parameter: float
    schedule: str = Field(description="In words.")
    decay_share: float = Field(description="Last share of the tokens: the rate decays on anneal.")


class Contamination(BaseModel):
    """What was searched for and taken out; further figures as stage 7 states them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    verdict: Literal["searched", "not searched"]


class Handoff(_Record):
    """The contract; see docs/handoff.md and docs/handoff.schema.json."""

    handoff_version: int
    dataset: str
    fingerprints: dict[str, str] = Field(description="Every curating stage's fingerprint.")
    tokenizer: HandedFile
    vocabulary: int
    token_dtype: str = Field(pattern="^uint(16|32)$")
    end_of_text: int = Field(description="The id of the token that ends every document.")
    arms: list[Arm]
    validation: Validation
    finetuning: HandedFile | None = Field(
        None,
        description="Parquet: doc_id, split (train or validation), origin_kind (exercise or "
        "instruction), messages (list of role and content). Null where there is none.",
    )
    megatron: list[HandedFile] = Field(
        [], description="The shards again in Megatron's .bin and .idx, where the recipe asks."
    )
    mixture: dict[str, Any] = Field(description="What each arm is made of, by arm.")
    contamination: Contamination
    card: HandedFile
    teacher: dict[str, Any] = Field(description="Who labelled and wrote; says if it is no LLM.")
    suggestion: TrainingRecipe
    signature: Signature | None = None


def open_handoff(path: Path, verify: bool = True, key_variable: str | None = None) -> Handoff:
    """Read `handoff.json`, check its signature, and size and sha256 of every file it names.

    `key_variable` names the environment variable that holds the key; see `check_signature` for
    what holds without it. Raises InputError where it is no handoff or a newer one, StageError
    naming the first thing that does not verify.
    """
    try:
        text = path.read_text()
        version = _Versioned.model_validate_json(text).handoff_version
        if version != HANDOFF_VERSION:  # asked first: another one may well have other fields
            raise InputError(
                "handoff",
                f"{path} has version {version}, this Primer reads {HANDOFF_VERSION}",
                "use the newer Primer that made it"
                if version > HANDOFF_VERSION
                else "run the recipe again with this Primer",
            )
        handoff = Handoff.model_validate_json(text)
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            "handoff", f"{path} is not a handoff ({error})", "give the handoff.json of a run"
        ) from error
    if verify:
        check_signature(path, json.loads(text), handoff.signature, key_variable)
        for file in handed_files(handoff):
            _verify(path.parent / file.path, file)
    return handoff


def handoff_schema() -> str:
    """The JSON schema of `handoff.json`, for trainers of other makes."""
    return json.dumps(Handoff.model_json_schema(), indent=1, sort_keys=True) + "\n"


def handed_files(handoff: Handoff) -> list[HandedFile]:
    """Every file that the handoff names."""
    shards = [shard for arm in handoff.arms for shard in (*arm.base, *arm.anneal)]
    return [
        handoff.tokenizer, handoff.card, handoff.validation.documents,
        *([handoff.finetuning] if handoff.finetuning else []),
        *shards, *(shard.index for shard in shards), *handoff.megatron,
    ]  # fmt: skip


def _verify(path: Path, file: HandedFile) -> None:
    if not path.exists():
        raise StageError("handoff", f"{path} is missing", "run the recipe again")
    if path.stat().st_size != file.bytes or hash_file(path) != file.sha256:
        raise StageError(
            "handoff", f"{path} is not the file that was handed over", "run the recipe again"
        )
