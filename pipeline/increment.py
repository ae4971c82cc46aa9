"""Versions that grow: what a stage of version N takes over from the version before it.

A version is a run of its own whose recipe names its parent. Three sorts of stages:

- *inherited* (label, train-filter, and synthesize unless the recipe asks for more): the parent's
  sealed files, hard-linked where the file system can; nothing is asked, nothing is paid twice;
- *new rows only* (ingest, clean, apply-filter): the parent says what was there before;
- *appended* (decontaminate, tokenize): the parent's files and the new rows beside them.

Each states under `facts["parent"]` which sealed stage it continues and what all versions before it
took in, so that a version and its card need no more than the direct parent. The parent's
fingerprints and hashes are part of a stage's own: a parent that was made anew makes the version
stale. A recipe without a parent has the fingerprints that it had before there were versions.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.manifest import MANIFEST, Manifest, read_manifest
from pipeline.stage import Outcome, Sealed, Sections, Stage, Workplace

_NO_LINKS = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}


class IncrementConfig(Section):
    """Which version this one grows from; `primer append` writes it."""

    parent: Path | None = Field(
        None,
        description="Run that is the version before this one: its files are not read again, its "
        "labels and filter are taken over; null for a first version.",
        json_schema_extra=HOW,  # where it lies; what it holds is in the fingerprint
    )
    synthesize: bool = Field(
        False,
        description="Write new textbooks and exercises from the new documents, which the teacher "
        "is paid for; false takes over the parent's.",
    )


def is_inherited(stage: str, config: IncrementConfig) -> bool:
    """Whether a version takes over this stage as its parent sealed it."""
    names = {"label", "train-filter"} | ({"synthesize"} if not config.synthesize else set())
    return config.parent is not None and stage in names


@dataclass(frozen=True)
class VersionedStage(Stage):
    """A stage that knows of a parent; `continues` are the parent's stages that it reads."""

    continues: tuple[str, ...] = ()

    def config(self, recipe: Sections) -> dict[str, Any]:
        """The sections that made the files, and which sealed stages of the parent they rest on."""
        increment = recipe.section(IncrementConfig)
        own = IncrementConfig.__name__
        if increment.parent is None:
            return {kind: told for kind, told in super().config(recipe).items() if kind != own}
        parents = {name: open_stage(increment.parent, name) for name in self._read()}
        told = (
            parents[self.name].manifest.config
            if is_inherited(self.name, increment)
            else super().config(recipe)
        )
        links = {
            name: {"fingerprint": p.manifest.fingerprint, "outputs": p.manifest.outputs_sha256}
            for name, p in parents.items()
        }
        return {**told, own: {"parent": links}}

    def hash_inputs(self, recipe: Sections) -> str:
        """What was read from outside; an inherited stage reads nothing again."""
        increment = recipe.section(IncrementConfig)
        if increment.parent is not None and is_inherited(self.name, increment):
            return open_stage(increment.parent, self.name).manifest.inputs_sha256
        return super().hash_inputs(recipe)

    def _read(self) -> tuple[str, ...]:
        return (self.name, *self.continues)


def inherited_or(work: Callable[[Workplace], Outcome]) -> Callable[[Workplace], Outcome]:
    """The stage's work, or, where the version takes it over, the parent's outcome."""

    def seal(place: Workplace) -> Outcome:
        if is_inherited(place.stage, place.section(IncrementConfig)):
            return _inherit(place)
        return work(place)

    return seal


def _inherit(place: Workplace) -> Outcome:
    """The parent's files, ledger and facts; what they cost was paid then, and is told apart."""
    parent = parent_stage(place)
    assert parent is not None
    link_files(parent, parent.manifest.files, place.out)
    spend = parent.manifest.spend
    earlier = parent.facts.get("inherited_from")  # the version that made them stays named
    origin = earlier or {
        "run": parent.path.parent.name,
        "fingerprint": parent.manifest.fingerprint,
        "spend": spend and spend.model_dump(mode="json"),
    }
    facts = {**parent.facts, "inherited_from": origin, "parent": _named(parent)}
    return Outcome(parent.ledger, facts)


def parent_stage(place: Workplace, name: str | None = None) -> Sealed | None:
    """What the parent sealed of this stage, or of another one; None for a first version."""
    parent = place.section(IncrementConfig).parent
    return None if parent is None else open_stage(parent, name or place.stage)


def open_stage(run: Path, name: str) -> Sealed:
    """A sealed stage of a run by its name; InputError where it is not there."""
    for path in run.glob(f"[0-9][0-9]-{name}/{MANIFEST}"):
        manifest = read_manifest(path.parent)
        if manifest is not None:
            return Sealed(path.parent, manifest)
    raise InputError(
        name,
        f"the parent {run} has no sealed {name}",
        "run the parent's recipe first, or correct increment.parent",
    )


def outdated_links(manifest: Manifest, run: Path) -> list[str]:
    """The stages of the parent `run` that are not sealed there as they were when this was made."""
    links = manifest.config.get(IncrementConfig.__name__, {}).get("parent", {})
    found = []
    for name, link in links.items():
        try:
            now = open_stage(run, name).manifest
        except StageError:
            found.append(name)
            continue
        if (now.fingerprint, now.outputs_sha256) != (link["fingerprint"], link["outputs"]):
            found.append(name)
    return found


def grown(parent: Sealed | None, facts: Iterable[str] = (), again: bool = False) -> dict[str, Any]:
    """`{"parent": ...}` for a stage's facts: whom it continues, and the account of all before it.

    `facts` are those of the parent that are to be compared with; `again` says that the stage takes
    in all rows again, so that accounts do not add up. Empty for a first version.
    """
    if parent is None:
        return {}
    told = {name: parent.facts[name] for name in facts}
    before = asdict(parent.ledger if again else account(parent))
    return {"parent": {**_named(parent), "before": before, "again": again, **told}}


def account(sealed: Sealed) -> Ledger:
    """What a stage and all its ancestors took in together."""
    told, mine = sealed.facts.get("parent", {}), sealed.ledger
    if "before" not in told or told["again"]:
        return mine
    return Ledger.total(mine.unit, [mine, Ledger.from_json(told["before"])])


def _named(parent: Sealed) -> dict[str, Any]:
    manifest = parent.manifest
    return {
        "run": parent.path.parent.name,
        "fingerprint": manifest.fingerprint,
        "outputs_sha256": manifest.outputs_sha256,
    }


def link_files(sealed: Sealed, names: Iterable[str], out: Path) -> None:
    """The same files below `out` under the same names."""
    for name in names:
        link_file(sealed.file(name), out / name)


def link_file(source: Path, target: Path) -> None:
    """The same bytes at another place: one file where the file system can, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # of a try that was killed, perhaps half a copy
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
