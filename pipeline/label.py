"""Stage 3: ask the teacher how educational a sample is, and see how far it can be trusted.

Each document of a stratified sample is one question under the rubric of its kind. An answer that
cannot be used is *unlabelled* with its reason; it never becomes a score. A share is read again in
another window, further annotators read theirs, people may overrule all of them; how far they agree
is reported, and what they disagree on most is a queue for people to review.

What it costs: one request a document and reading, of about a quarter of `text_budget_chars` tokens
and the rubric's 300.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from pydantic import Field

from pipeline.active import ActiveConfig, choose_next
from pipeline.config import Section
from pipeline.errors import InputError, StageError
from pipeline.human_labels import read_human_labels
from pipeline.increment import IncrementConfig, VersionedStage, inherited_or
from pipeline.label_report import OPINIONS, Tally, queue_for_review, write_label_report
from pipeline.ledger import Ledger
from pipeline.manifest import sum_spends
from pipeline.named_documents import read_named
from pipeline.open_teacher import open_teacher
from pipeline.opinions import Annotator, AnnotatorConfig, Desk, make_annotators
from pipeline.records import LABEL, OPINION, ROWS_PER_GROUP, read_rows, write_table
from pipeline.rubrics import DEFAULTS, Kind
from pipeline.sampling import Candidate, Sample, draw_sample, read_candidates, split_of
from pipeline.splits import ValidationConfig, in_validation
from pipeline.stage import Outcome, Sections, Workplace
from pipeline.teacher import Teacher
from pipeline.teacher_config import TeacherConfig

log = logging.getLogger("primer")


class LabelConfig(Section):
    """How much is labelled, by whom, and how much of a document they see."""

    sample_size: int = Field(
        2_000, ge=20, le=1_000_000, description="Documents to label, over all strata."
    )
    test_share: float = Field(
        0.3, gt=0.05, lt=0.9, description="Share of the groups that judge the filter."
    )
    text_budget_chars: int = Field(
        6_000, ge=500, le=200_000, description="Characters of a document that the teacher sees."
    )
    max_answer_tokens: int = Field(400, ge=50, le=8_000, description="Tokens of an answer at most.")
    rubrics: dict[Kind, str] = Field(
        DEFAULTS,
        description="Rubric by kind: educational-prose, educational-code, phi1-value, or a file.",
    )
    again_share: float | None = Field(
        0.05,
        gt=0,
        le=1,
        description="Share read again in another window, to see how far the teacher agrees with "
        "itself; null for none.",
    )
    annotators: list[AnnotatorConfig] = Field([], description="Further annotators.")
    combine: Literal["first", "median"] = Field(
        "first", description="Whose score is the label: the first annotator's, or the median's."
    )
    human_labels: Path | None = Field(
        None,
        description="CSV or JSONL with doc_id and human_score, such as a review queue that was "
        "filled in: these documents are in the sample, and people's scores are the labels.",
    )
    also: list[Path] = Field(
        [],
        description="Parquet, CSV or JSONL files with a doc_id, such as a copy of the sample that "
        "apply-filter offers after drift: these documents are labelled on top of the draw.",
    )
    review_size: int = Field(50, ge=0, le=100_000, description="Documents of the review queue.")
    active: ActiveConfig | None = Field(
        None,
        description="Choose a part of the sample where a forest of the first part's labels is "
        "least certain, and where strata are thin; null draws all of it at random.",
    )


def label(place: Workplace) -> Outcome:
    """Sample, ask, and write `labels.parquet` and what it rests on."""
    config, teacher_config = place.section(LabelConfig), place.section(TeacherConfig)
    humans = read_human_labels(config.human_labels) if config.human_labels else {}
    named = read_named(config.also, place.run)
    documents = place.needs["clean"].files("documents/*.parquet")
    desk = Desk(place, documents, config.text_budget_chars, config.max_answer_tokens)
    began = time.monotonic()
    with open_teacher(place, teacher_config) as teacher:
        annotators = make_annotators(teacher, config.rubrics, config.again_share, config.annotators)
        first = annotators[0]
        sample = _draw(desk, teacher, first, frozenset(humans), named)
        tally = Tally(first.name, {c.doc_id: c for c in sample.drawn}, humans)
        opinions = tally.watch(_read_all(desk, teacher, annotators, sample))
        _write_sorted(place, opinions)
        spend = sum_spends([teacher.spend, *desk.other_spends])
    seconds = time.monotonic() - began
    write_table(place.out / "labels.parquet", _labels(place, tally), LABEL)
    _write_sample(place.out / "sample.json", sample)
    unlabelled, labelled = dict(sorted(tally.unlabelled.items())), len(tally.final)
    if labelled == 0:
        raise StageError(
            "label",
            f"none of {len(sample.drawn)} answers could be used ({unlabelled})",
            "look at answers.sqlite beside the stages, and correct teacher",
        )
    facts = {
        "annotator": teacher.name,
        "annotator_is_llm": teacher.is_llm,
        "rubrics": {kind: first.rubrics[kind].ref for kind in sorted(sample.kinds)},
        "sampled": len(sample.drawn),
        "labelled": labelled,
        "held_out": sample.held_out,
        "actively_drawn": sample.active,
        "seconds": round(seconds, 2),
        "answers_per_second": round(spend.calls / max(seconds, 1e-9), 1),
        **write_label_report(place.out, tally, place.seed),
        "review": queue_for_review(place.out, tally, documents, config.review_size),
    }
    return Outcome(Ledger("documents", len(sample.drawn), labelled, {}, unlabelled), facts, spend)


def _draw(
    desk: Desk, teacher: Teacher, first: Annotator, humans: frozenset[str], named: frozenset[str]
) -> Sample:
    """The documents to label; with active sampling the first round is asked on the way."""
    place, config = desk.place, desk.place.section(LabelConfig)
    candidates, held_out = read_candidates(desk.documents), place.section(ValidationConfig)
    chosen = round(config.sample_size * config.active.share) if config.active else 0
    size = config.sample_size - chosen
    sample = draw_sample(candidates, size, place.seed, held_out, humans | named)
    _tell_named(named, candidates, sample)
    if not sample.drawn:
        raise StageError(
            "label",
            "no document may be labelled: all groups are held out",
            "lower validation.share or add sources",
        )
    if config.active is None:
        return sample
    scores = {row["doc_id"]: row["score"] for row in desk.ask(teacher, first, sample.drawn)}
    # whoever judges the filter must be drawn at random
    trained_on = [
        c
        for c in candidates
        if not in_validation(c.group, place.seed, held_out)
        and split_of(c.group, place.seed, config.test_share) == "train"
    ]
    choice = choose_next(
        trained_on, desk.documents, scores, chosen, place.seed, config.active,
        config.active.positive_score_min,
    )  # fmt: skip
    if choice.no_forest:
        log.warning("label: all of the second round is for thin strata: %s", choice.no_forest)
    drawn = sorted([*sample.drawn, *choice.chosen], key=lambda c: c.doc_id)
    return replace(sample, drawn=drawn, active=len(choice.chosen))


def _tell_named(named: frozenset[str], candidates: list[Candidate], sample: Sample) -> None:
    """Say how many documents of label.also cannot be labelled; InputError where none is there."""
    there = named & {candidate.doc_id for candidate in candidates}
    if named and not there:
        raise InputError(
            "label",
            f"none of the {len(named)} documents named in label.also is in the corpus, "
            f"{min(named)!r} for one",
            "take the documents in as a source of ingest, or name files of this corpus",
        )
    held_out = len(there) - len(there & {candidate.doc_id for candidate in sample.drawn})
    if len(there) < len(named) or held_out:
        log.warning(
            "label: of %d documents named in label.also, %d are not in the corpus and %d are in "
            "groups held out for validation; the others are labelled",
            len(named), len(named) - len(there), held_out,
        )  # fmt: skip


def _read_all(
    desk: Desk, teacher: Teacher, annotators: Sequence[Annotator], sample: Sample
) -> Iterator[dict[str, Any]]:
    """The opinions of every annotator."""
    for annotator in annotators:
        if annotator.teacher is None:
            yield from desk.ask(teacher, annotator, sample.drawn)
            continue
        with open_teacher(desk.place, annotator.teacher) as other:
            yield from desk.ask(other, annotator, sample.drawn)
            desk.other_spends.append(other.spend)


def _write_sorted(place: Workplace, opinions: Iterator[dict[str, Any]]) -> None:
    """Write them as they come, then by document: shards and their order must not show."""
    unsorted = place.scratch / OPINIONS
    write_table(unsorted, opinions, OPINION)
    table = pq.read_table(unsorted).sort_by([("doc_id", "ascending"), ("annotator", "ascending")])
    pq.write_table(table, place.out / OPINIONS, compression="zstd", row_group_size=ROWS_PER_GROUP)


def _labels(place: Workplace, tally: Tally) -> Iterator[dict[str, Any]]:
    """One row for each document, in the order of their ids."""
    config = place.section(LabelConfig)
    for row in read_rows([place.out / OPINIONS]):
        if row["annotator"] != tally.first:
            continue
        score, annotator = tally.decide(row, config.combine)
        yield {
            "doc_id": row["doc_id"],
            "annotator": annotator,
            "rubric": row["rubric"],
            "score": score,
            "justification": row["justification"],
            "unlabelled_reason": row["unlabelled_reason"] if score is None else None,
            "split": split_of(tally.drawn[row["doc_id"]].group, place.seed, config.test_share),
            "raw_answer": row["raw_answer"],
        }


def _write_sample(path: Path, sample: Sample) -> None:
    strata = {
        name: {"drawn": drawn, "available": available}
        for name, (drawn, available) in sample.strata.items()
    }
    record = {"strata": strata, "held_out": sample.held_out, "active": sample.active}
    path.write_text(json.dumps(record, indent=1) + "\n")


def _inputs(recipe: Sections) -> Iterator[tuple[str, Path]]:
    """Files that decide what is asked and of what, and people's labels."""
    config = recipe.section(LabelConfig)
    teachers = [recipe.section(TeacherConfig), *(a.teacher for a in config.annotators if a.teacher)]
    rubrics = [config.rubrics, *(annotator.rubrics for annotator in config.annotators)]
    named = [name for by_kind in rubrics for name in by_kind.values()]
    yield from ((name, Path(name)) for name in named if Path(name).is_file())
    for path in [config.human_labels, *config.also, *(teacher.gguf for teacher in teachers)]:
        if path is None:
            continue
        if not path.is_file():
            raise InputError("label", f"there is no file {path}", "correct label or teacher")
        yield str(path), path


STAGE = VersionedStage(
    number=3,
    name="label",
    version=3,
    needs=("clean",),
    makes=(
        "labels.parquet", "opinions.parquet", "sample.json", "agreement.json", "review.csv",
        "review.jsonl", "labels.png", "agreement.png", "unlabelled.png",
    ),
    sees=(LabelConfig, TeacherConfig, ValidationConfig, IncrementConfig),
    work=inherited_or(label),
    inputs=_inputs,
)  # fmt: skip
