"""Verify a run: every sealed byte, every ledger, every link from a stage to what it needs.

A version of a dataset is held to its direct parent too: to the very stages that it grew from, and
to the files that it took over.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from fnmatch import fnmatch
from pathlib import Path

from pipeline.errors import InputError, StageError
from pipeline.increment import open_stage, outdated_links
from pipeline.ledger import Ledger
from pipeline.manifest import MANIFEST, Manifest, hash_file, hash_outputs, is_intact, read_manifest
from pipeline.progress import progress_bar
from pipeline.versions import RECIPE, parent_of

# What a version has of its parent byte for byte, where it does not inherit the whole stage.
_TAKEN_OVER = {
    "decontaminate": ("arms/*",),
    "tokenize": ("tokenizer.json", "val/*"),
}


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


def verify_run(run: Path, only: Container[str] | None = None) -> list[str]:
    """What is wrong with a run, one line each; empty when everything holds.

    `only` names the stages that are looked at; without it, all are.
    """
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
        for name, (directory, manifest) in stages.items():
            if only is None or name in only:
                problems += _verify_files(directory, manifest)
                problems += _verify_records(directory, manifest, stages)
                problems += _verify_parent(run, directory, manifest)
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


def _verify_parent(run: Path, directory: Path, manifest: Manifest) -> Iterator[str]:
    """That a version's stage rests on what its parent holds, and holds what it took over of it."""
    told = manifest.facts.get("parent")
    if told is None:
        return
    parent = parent_of(run)
    if parent is None or parent.name != told["run"]:
        yield f"{directory}: grew from {told['run']}, which {run / RECIPE} does not name"
        return
    for name in outdated_links(manifest, parent):
        yield f"{directory}: grew from another {name} than the one sealed in {parent}"
        return
    earlier = open_stage(parent, manifest.stage).manifest
    taken = _TAKEN_OVER.get(manifest.stage, ())
    names = (
        earlier.files
        if "inherited_from" in manifest.facts
        else [name for name in earlier.files if any(fnmatch(name, pattern) for pattern in taken)]
    )
    for name in names:
        if name not in manifest.files or manifest.files[name].sha256 != earlier.files[name].sha256:
            yield f"{directory / name}: is not the file of {parent}"
