"""Verify a run: every sealed byte, every ledger, every link from a stage to what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.manifest import MANIFEST, Manifest, hash_file, hash_outputs, is_intact, read_manifest
from pipeline.progress import progress_bar


def sealed_stages(run: Path) -> dict[str, tuple[Path, Manifest]]:
    """Every sealed directory of a run by its stage's name, in the journey's order.

    Raises InputError where the run holds none, and StageError where a manifest is damaged.
    """
    found = {}
    for directory in _sealed_directories(run):
        manifest = read_manifest(directory)
        assert manifest is not None
        found[manifest.stage] = (directory, manifest)
    if not found:
        raise InputError("verify", f"{run} holds no sealed stage", "run a recipe first")
    return found


def _sealed_directories(run: Path) -> list[Path]:
    return [
        path.parent
        for path in sorted(run.glob(f"[0-9][0-9]-*/{MANIFEST}"))
        if path.parent.suffix not in {".partial", ".replaced"}
    ]


def verify_run(run: Path) -> list[str]:
    """What is wrong with a run, one line each; empty when everything holds."""
    damaged = [
        f"{directory / MANIFEST}: its bytes are not what was sealed"
        for directory in _sealed_directories(run)
        if not is_intact(directory)
    ]
    if damaged:
        return damaged
    problems: list[str] = []
    stages = sealed_stages(run)
    with progress_bar("verifying", len(stages)) as advance:
        for directory, manifest in stages.values():
            problems += _verify_files(directory, manifest)
            problems += _verify_records(directory, manifest, stages)
            advance()
    return problems


def _verify_files(directory: Path, manifest: Manifest) -> Iterator[str]:
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    for name in sorted(present - set(manifest.files) - {MANIFEST}):
        yield f"{directory / name}: was not sealed"
    for name, entry in manifest.files.items():
        path = directory / name
        if name not in present:
            yield f"{path}: is missing"
        elif path.stat().st_size != entry.bytes or hash_file(path) != entry.sha256:
            yield f"{path}: its bytes are not what was sealed"


def _verify_records(
    directory: Path, manifest: Manifest, stages: dict[str, tuple[Path, Manifest]]
) -> Iterator[str]:
    if hash_outputs(manifest.files) != manifest.outputs_sha256:
        yield f"{directory / MANIFEST}: outputs_sha256 does not cover its files"
    try:
        Ledger.from_json(manifest.ledger).check(manifest.stage)
    except StageError as error:
        yield f"{directory / MANIFEST}: {error}"
    for name, fingerprint in manifest.needs.items():
        if name not in stages:
            yield f"{directory}: needs {name}, which is not sealed here"
        elif stages[name][1].fingerprint != fingerprint:
            yield f"{directory}: was made from another {name} than the one sealed here"
