"""The manifest: what makes a directory an artifact. Written last, and it seals itself.

`outputs_sha256` covers every file that does not depend on the clock or on the machine's speed:
two runs of one recipe agree on it, killed and resumed or not. Files that a stage declares
volatile (measured speeds) are hashed too, so that `primer verify` sees a flipped byte in them,
but stay out of `outputs_sha256`, as do `started_at`, `seconds`, `spend`, `facts`, `code`,
`packages` and `machine` here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import InputError, StageError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class FileEntry(BaseModel):
    """One sealed file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    volatile: bool = False


class Spend(BaseModel):
    """What the teacher's answers cost; `cost` is in `currency`.

    Reasoning tokens are a part of the completion's. The estimates are those made before the
    request left: four characters a token of the prompt, and the longest answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = 0
    cached_calls: int = 0
    batched_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_prompt_tokens: int = 0
    estimated_completion_tokens: int = 0
    cost: float = 0.0
    lost_cost_at_most: float = 0.0  # of requests that were lost on the way, and may be billed
    currency: str = "USD"


def sum_spends(spends: Sequence[Spend]) -> Spend:
    """All of them together; they are in one currency."""
    (currency,) = {spend.currency for spend in spends}
    counts = [name for name in Spend.model_fields if name != "currency"]
    sums = {name: sum(getattr(spend, name) for spend in spends) for name in counts}
    return Spend(currency=currency, **sums)


class Manifest(BaseModel):
    """The record of one sealed stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    stage: str
    stage_version: int
    fingerprint: str
    seed: int
    config: dict[str, Any]
    needs: dict[str, str]
    inputs_sha256: str
    ledger: dict[str, Any]
    facts: dict[str, Any]
    spend: Spend | None
    files: dict[str, FileEntry]
    outputs_sha256: str
    started_at: str
    seconds: float
    code: dict[str, Any]
    packages: dict[str, str]
    machine: dict[str, Any]


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """The sha256 of a JSON value in canonical form, in hex."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    ).hexdigest()


def hash_outputs(files: Mapping[str, FileEntry]) -> str:
    """One hash over the names and contents of all files that are not volatile."""
    return hash_json({name: entry.sha256 for name, entry in files.items() if not entry.volatile})


def _to_bytes(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(body.encode()).hexdigest()
    sealed = json.dumps(
        {**record, "manifest_sha256": digest}, indent=1, sort_keys=True, ensure_ascii=False
    )
    return sealed.encode() + b"\n"


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write and flush the manifest: from here on the directory is an artifact."""
    temporary = directory / f".{MANIFEST}"
    with temporary.open("wb") as file:
        file.write(_to_bytes(manifest.model_dump(mode="json")))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(directory / MANIFEST)


def is_intact(directory: Path) -> bool:
    """Whether a manifest, of whatever version, is the very bytes that were sealed."""
    sealed = (directory / MANIFEST).read_bytes()
    try:
        record = json.loads(sealed)
        del record["manifest_sha256"]
        return _to_bytes(record) == sealed
    except (ValueError, KeyError, TypeError):
        return False


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a sealed directory, or None where there is none.

    Raises InputError for a run made by a newer version of Primer, and StageError where the
    manifest is not the bytes that were sealed.
    """
    path = directory / MANIFEST
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return None
    damaged = StageError(
        directory.name, f"{path} is damaged", "delete its directory and run the recipe again"
    )
    try:
        record = json.loads(sealed)
        version = record["format_version"]
        if version > FORMAT_VERSION:
            raise InputError(
                directory.name,
                f"{path} has format {version}, this Primer reads up to {FORMAT_VERSION}",
                "use the newer Primer that made it, or another run directory",
            )
        if not is_intact(directory):
            raise damaged
        del record["manifest_sha256"]
        return Manifest(**record)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise damaged from error
