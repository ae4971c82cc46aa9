"""Which sealed files the documents of a run, and what is known about them, lie in.

A document is on one of three shelves: it passed cleaning, it was dropped there, or the teacher
wrote it. Labels, scores and leaks are tables beside them, joined on `doc_id`.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException

from catalog.runs_index import Run
from pipeline.stage import Sealed

Files = tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """The files by what they hold; none where that stage is not sealed, or sealed none of them."""

    key: Files  # of everything sealed: what is remembered of a corpus is remembered under it
    passed: Files
    synthetic: Files
    ingested: Files
    dropped: Files
    examples: Files
    copies: Files
    labels: Files
    opinions: Files
    scores: Files
    hits: Files
    arms: tuple[tuple[str, Files], ...]
    validation: Files
    seed: int
    held_out_share: float | None  # of the groups; None where no stage that knows is sealed

    @property
    def every_file(self) -> Files:
        """All of them, for a reader that may open nothing else."""
        named = (
            self.passed, self.synthetic, self.ingested, self.dropped, self.examples, self.copies,
            self.labels, self.opinions, self.scores, self.hits, self.validation,
            *(files for _, files in self.arms),
        )  # fmt: skip
        return tuple(path for files in named for path in files)

    def arm(self, name: str) -> Files:
        """The files of an arm; none for an arm that there is not."""
        return dict(self.arms).get(name, ())


def need(run: Run, stage: str, what: str) -> Sealed:
    """The sealed stage that a page is made of; 404 saying what is missing, 409 where damaged."""
    if stage in run.stages:
        return run.stages[stage]
    if run.problem and not run.stages:
        raise HTTPException(409 if "damaged" in run.problem else 404, run.problem)
    begun = any(name.partition("-")[2].startswith(f"{stage}.") for name in run.unfinished)
    state = "is not finished" if begun else "has not run"
    raise HTTPException(
        404, f"The stage {stage} of {run.name} {state} yet, and {what} comes from it. "
        f"`primer run` with the run's recipe goes on where it stopped.",
    )  # fmt: skip


def corpus_of(run: Run) -> Corpus:
    """The files of a run's documents; 404 where it has not come as far as cleaning."""
    cleaned = need(run, "clean", "what there is to browse")
    stages = run.stages
    config = next(
        (
            stages[name].manifest.config["ValidationConfig"]
            for name in ("tokenize", "label")
            if name in stages and "ValidationConfig" in stages[name].manifest.config
        ),
        None,
    )
    without_leaks = stages.get("decontaminate")
    return Corpus(
        key=tuple(sealed.manifest.outputs_sha256 for sealed in stages.values()),
        passed=_files(cleaned, "documents/*.parquet"),
        synthetic=_files(stages.get("synthesize"), "*/*.parquet"),  # a folder for each task
        ingested=_files(stages.get("ingest"), "documents/*.parquet"),
        dropped=_files(cleaned, "dropped.parquet"),
        examples=_files(cleaned, "examples.parquet"),
        copies=_files(cleaned, "copies.parquet"),
        labels=_files(stages.get("label"), "labels.parquet"),
        opinions=_files(stages.get("label"), "opinions.parquet"),
        scores=_files(stages.get("apply-filter"), "scores/*.parquet"),
        hits=_files(without_leaks, "hits.parquet"),
        arms=tuple(
            (arm, _files(without_leaks, f"arms/{arm}/*.parquet")) for arm in _arms(without_leaks)
        ),
        validation=_files(stages.get("tokenize"), "val/documents.parquet"),
        seed=cleaned.manifest.seed,
        held_out_share=None if config is None else float(config["share"]),
    )


def _files(sealed: Sealed | None, pattern: str) -> Files:
    return () if sealed is None else tuple(map(str, sealed.files(pattern)))


def _arms(sealed: Sealed | None) -> list[str]:
    names = () if sealed is None else sealed.manifest.files
    return sorted({name.split("/")[1] for name in names if name.startswith("arms/")})
