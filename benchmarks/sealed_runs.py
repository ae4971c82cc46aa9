"""A stage's directory sealed by hand: what a catalog reads, without the work that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.manifest import (
    FORMAT_VERSION,
    FileEntry,
    Manifest,
    hash_file,
    hash_json,
    hash_outputs,
    write_manifest,
)


def seal(
    directory: Path,
    ledger: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    seed: int = 1,
) -> None:
    """Seal all files that lie in a directory such as `02-clean` as that stage's."""
    files = {
        path.relative_to(directory).as_posix(): FileEntry(
            sha256=hash_file(path), bytes=path.stat().st_size
        )
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        stage=directory.name.split("-", 1)[1],
        stage_version=1,
        fingerprint=hash_json(directory.name),
        seed=seed,
        config=dict(config or {}),
        needs={},
        inputs_sha256=hash_json([]),
        ledger={"dropped": {}, "failed": {}, **ledger},
        facts=dict(facts or {}),
        spend=None,
        files=files,
        outputs_sha256=hash_outputs(files),
        started_at="2026-01-01T00:00:00+00:00",
        seconds=0.0,
        code={},
        packages={},
        machine={},
    )
    write_manifest(directory, manifest)
