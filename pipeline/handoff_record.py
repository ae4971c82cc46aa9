"""The handoff: everything that a trainer may know, in one file that it can verify.

`handoff.json` is the one door from curating to training. The trainer opens it with
`open_handoff`, which checks every byte that it names, and reads nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError, StageError
from pipeline.manifest import hash_file

HANDOFF_VERSION = 1
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
    """Token ids, little-endian unsigned integers of the handoff's `token_dtype`, no header."""

    tokens: int


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

    parameters: int
    tokens_per_parameter: float
    schedule: str


class Handoff(_Record):
    """The contract; see docs/handoff.schema.json."""

    handoff_version: int
    dataset: str
    fingerprints: dict[str, str] = Field(description="Every curating stage's fingerprint.")
    tokenizer: HandedFile
    vocabulary: int
    token_dtype: str = Field(pattern="^uint(16|32)$")
    end_of_text: int = Field(description="The id of the token between documents.")
    arms: list[Arm]
    validation: Validation
    mixture: dict[str, Any]
    contamination: dict[str, Any]
    card: HandedFile
    teacher: dict[str, Any] = Field(description="Who labelled and wrote; says if it is no LLM.")
    suggestion: TrainingRecipe


def open_handoff(path: Path, verify: bool = True) -> Handoff:
    """Read `handoff.json`, and check size and sha256 of every file it names.

    Raises InputError where it is no handoff or a newer one, StageError naming the first file
    that does not verify.
    """
    try:
        text = path.read_text()
        version = _Versioned.model_validate_json(text).handoff_version
        if version > HANDOFF_VERSION:  # asked first: a newer one may well have other fields
            raise InputError(
                "handoff",
                f"{path} has version {version}, this Primer reads {HANDOFF_VERSION}",
                "use the newer Primer that made it",
            )
        handoff = Handoff.model_validate_json(text)
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            "handoff", f"{path} is not a handoff ({error})", "give the handoff.json of a run"
        ) from error
    if verify:
        for file in handed_files(handoff):
            _verify(path.parent / file.path, file)
    return handoff


def handoff_schema() -> str:
    """The JSON schema of `handoff.json`, for trainers of other makes."""
    return json.dumps(Handoff.model_json_schema(), indent=1, sort_keys=True) + "\n"


def handed_files(handoff: Handoff) -> list[HandedFile]:
    """Every file that the handoff names."""
    shards = [shard for arm in handoff.arms for shard in (*arm.base, *arm.anneal)]
    return [handoff.tokenizer, handoff.card, handoff.validation.documents, *shards]


def _verify(path: Path, file: HandedFile) -> None:
    if not path.exists():
        raise StageError("handoff", f"{path} is missing", "run the recipe again")
    if path.stat().st_size != file.bytes or hash_file(path) != file.sha256:
        raise StageError(
            "handoff", f"{path} is not the file that was handed over", "run the recipe again"
        )
