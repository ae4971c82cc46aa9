"""The stage contract: fingerprint, work in a `.partial` directory, manifest last, rename.

A step's fingerprint is the hash of (the stage's name and version, the sections it sees, the seed,
the fingerprints of what it needs, the hash of the files it reads from outside the run). A
directory sealed under that fingerprint is never made again; anything else is work still to do.
Because fingerprints do not depend on outputs, the whole plan is known before the first stage runs.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

from pipeline import provenance
from pipeline.errors import InputError, StageError
from pipeline.logs import logged_as
from pipeline.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    FileEntry,
    Manifest,
    hash_file,
    hash_json,
    hash_outputs,
    read_manifest,
    write_manifest,
)
from pipeline.metrics import count_documents, watched_stage
from pipeline.stage import SCRATCH, Sealed, Sections, Stage, Workplace

log = logging.getLogger("primer")


@dataclass(frozen=True)
class Step:
    """A stage of one recipe in one run directory, with its fingerprint worked out."""

    stage: Stage
    recipe: Sections
    run: Path
    inputs_sha256: str
    needs: Mapping[str, Step]
    fingerprint: str

    @property
    def path(self) -> Path:
        """Where the stage's artifact lies when it is sealed."""
        return self.run / self.stage.directory

    @property
    def partial(self) -> Path:
        """Where the stage works; what a crash left here is found again."""
        return self.run / f"{self.stage.directory}.{self.fingerprint[:12]}.partial"

    def sealed(self) -> Sealed | None:
        """The artifact, if it is sealed under this very fingerprint."""
        manifest = read_manifest(self.path)
        if manifest is None or manifest.fingerprint != self.fingerprint:
            return None
        return Sealed(self.path, manifest)

    @property
    def state(self) -> str:
        """`sealed`, `resume` (a crash left work), `stale` (sealed, but not this) or `to run`."""
        if self.sealed() is not None:
            return "sealed"
        if self.partial.exists():
            return "resume"
        return "stale" if (self.path / MANIFEST).exists() else "to run"


def make_plan(
    stages: Iterable[Stage], recipe: Sections, run: Path, taken_as_sealed: Iterable[str] = ()
) -> dict[str, Step]:
    """Every stage's step, in the journey's order, without running any.

    Stages named in `taken_as_sealed` keep the fingerprint that they were sealed under; InputError
    where one is not sealed.
    """
    steps: dict[str, Step] = {}
    taken = set(taken_as_sealed)
    for stage in stages:
        needs = {name: steps[name] for name in stage.needs}
        if stage.name in taken:
            manifest = read_manifest(run / stage.directory)
            if manifest is None:
                raise InputError(
                    stage.name, f"{run / stage.directory} is not sealed", "start at this stage"
                )
            inputs_sha256, fingerprint = manifest.inputs_sha256, manifest.fingerprint
        else:
            inputs_sha256 = stage.hash_inputs(recipe)
            fingerprint = _fingerprint(stage, recipe, needs, inputs_sha256)
        steps[stage.name] = Step(stage, recipe, run, inputs_sha256, needs, fingerprint)
    return steps


def _fingerprint(
    stage: Stage, recipe: Sections, needs: Mapping[str, Step], inputs_sha256: str
) -> str:
    return hash_json(
        [
            stage.name,
            stage.version,
            stage.config(recipe),
            recipe.seed,
            {name: step.fingerprint for name, step in needs.items()},
            inputs_sha256,
        ]
    )


def run_step(step: Step) -> Sealed:
    """Make the stage's artifact, or return it if it is already sealed under this fingerprint."""
    with logged_as(step.run.name, step.stage.name):
        done = step.sealed()
        if done is not None:
            log.info("%s: sealed already, skipped", step.stage.directory)
            return done
        with watched_stage(step.stage.name):
            if read_manifest(step.partial) is None:
                _work(step)
            _promote(step)
        sealed = step.sealed()
        assert sealed is not None
        _tell(step.stage, sealed)
        return sealed


def _tell(stage: Stage, sealed: Sealed) -> None:
    """A line and the counts of what was sealed."""
    account, seconds = sealed.ledger, sealed.manifest.seconds
    counts = {
        "kept": account.kept,
        "dropped": sum(account.dropped.values()),
        "failed": sum(account.failed.values()),
    }
    for outcome, n in counts.items():
        count_documents(stage.name, n, outcome)
    log.info(
        "%s: %d %s in, %d kept, %d dropped, %d failed, %.1f s",
        stage.directory, account.rows_in, account.unit, *counts.values(), seconds,
        extra={"counts": {"in": account.rows_in, **counts, "unit": account.unit,
                          "seconds": seconds}},
    )  # fmt: skip


def _work(step: Step) -> None:
    stage, partial = step.stage, step.partial
    for other in step.run.glob(f"{stage.directory}.*.partial"):
        if other != partial:
            shutil.rmtree(other)
    partial.mkdir(parents=True, exist_ok=True)
    place = Workplace(
        stage=stage.name,
        out=partial,
        run=step.run,
        seed=step.recipe.seed,
        needs={name: _opened(need, stage.name) for name, need in step.needs.items()},
        sections={kind: step.recipe.section(kind) for kind in stage.sees},
    )
    started_at, clock = datetime.now(UTC), time.perf_counter()
    try:
        outcome = stage.work(place)
        outcome.ledger.check(stage.name)
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)
        files = _hash_files(stage, partial)
        write_manifest(
            partial,
            Manifest(
                format_version=FORMAT_VERSION,
                stage=stage.name,
                stage_version=stage.version,
                fingerprint=step.fingerprint,
                seed=step.recipe.seed,
                config=stage.config(step.recipe),
                needs={name: need.fingerprint for name, need in step.needs.items()},
                inputs_sha256=step.inputs_sha256,
                ledger=asdict(outcome.ledger),
                facts=dict(outcome.facts),
                spend=outcome.spend,
                files=files,
                outputs_sha256=hash_outputs(files),
                started_at=started_at.isoformat(timespec="seconds"),
                seconds=round(time.perf_counter() - clock, 2),
                code=provenance.code_version(),
                packages=provenance.package_versions(),
                machine=provenance.machine(),
            ),
        )
    except Exception as error:
        _blame_the_disk(stage.name, partial, error)
        raise


def _opened(step: Step, needed_by: str) -> Sealed:
    sealed = step.sealed()
    if sealed is None:
        raise StageError(
            needed_by, f"its input {step.stage.name!r} is not sealed", "run that stage first"
        )
    return sealed


def _hash_files(stage: Stage, partial: Path) -> dict[str, FileEntry]:
    files = {}
    for path in sorted(p for p in partial.rglob("*") if p.is_file()):
        name = path.relative_to(partial).as_posix()
        volatile = any(fnmatch(name, pattern) for pattern in stage.volatile)
        files[name] = FileEntry(
            sha256=hash_file(path), bytes=path.stat().st_size, volatile=volatile
        )
    for pattern in stage.makes:
        if not any(fnmatch(name, pattern) for name in files):
            raise StageError(
                stage.name, f"it made no file {pattern!r}", "nothing was sealed; report this bug"
            )
    return files


def _promote(step: Step) -> None:
    """Put the finished directory in the old one's place; the next run mends a crash in between."""
    old = step.run / f"{step.stage.directory}.replaced"
    shutil.rmtree(old, ignore_errors=True)
    if step.path.exists():
        step.path.rename(old)
    step.partial.rename(step.path)
    shutil.rmtree(old, ignore_errors=True)


def _blame_the_disk(stage: str, place: Path, error: Exception) -> None:
    """Libraries hide a full disk behind many exceptions; ask the disk itself."""
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < 1_000_000:
        raise StageError(
            stage,
            f"the disk that holds {place} is full ({free_bytes} bytes free)",
            "free some space and run the same command: what is sealed is kept",
        ) from error
