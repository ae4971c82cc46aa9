"""Stage 3: ask the teacher how educational a small sample is.

Each document of a stratified sample is one question under the rubric of its kind. An answer that
cannot be used is *unlabelled* with its reason; it never becomes a score. What it costs: one request
a document, of about a quarter of `text_budget_chars` tokens and the rubric's 300.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.config import Section
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.question import Answer, Question
from pipeline.records import LABEL, read_batches, write_table
from pipeline.rubrics import RUBRICS, SCHEMA, SCHEMA_NAME, ask_about
from pipeline.sampling import Sample, draw_sample, read_candidates, split_of
from pipeline.splits import ValidationConfig
from pipeline.stage import Outcome, Stage, Workplace
from pipeline.teacher import open_teacher
from pipeline.teacher_config import TeacherConfig


class LabelConfig(Section):
    """How much is labelled, and how much of it the teacher sees."""

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


def label(place: Workplace) -> Outcome:
    """Sample, ask, and write `labels.parquet`."""
    config = place.section(LabelConfig)
    documents = place.needs["clean"].files("documents/*.parquet")
    sample = draw_sample(
        read_candidates(documents), config.sample_size, place.seed, place.section(ValidationConfig)
    )
    if not sample.drawn:
        raise StageError(
            "label",
            "no document may be labelled: all groups are held out",
            "lower validation.share or add sources",
        )
    texts = _texts_of({c.doc_id for c in sample.drawn}, documents)
    questions = [_question(c.doc_id, c.kind, texts[c.doc_id], config) for c in sample.drawn]
    with (
        open_teacher(place, place.section(TeacherConfig)) as teacher,
        place.bar("asking", len(questions)) as advance,
    ):
        answers = teacher.ask(questions, advance)
    rows = _rows(sample, answers, teacher.name, config, place.seed)
    write_table(place.out / "labels.parquet", rows, LABEL)
    _write_sample(place.out / "sample.json", sample)
    unlabelled = Counter(row["unlabelled_reason"] for row in rows if row["score"] is None)
    labelled = len(rows) - sum(unlabelled.values())
    if labelled == 0:
        raise StageError(
            "label",
            f"none of {len(rows)} answers could be used ({dict(unlabelled)})",
            "look at answers.sqlite beside the stages, and correct teacher",
        )
    histogram = _histogram(sample, answers)
    _plot(place.out / "labels.png", histogram, teacher.name)
    facts = {
        "annotator": teacher.name,
        "annotator_is_llm": teacher.is_llm,
        "rubrics": {kind: RUBRICS[kind].ref for kind in sorted({c.kind for c in sample.drawn})},
        "sampled": len(rows),
        "labelled": labelled,
        "held_out": sample.held_out,
        "histogram": histogram,
    }
    return Outcome(
        Ledger("documents", len(rows), labelled, {}, dict(sorted(unlabelled.items()))),
        facts,
        teacher.spend,
    )


def _question(doc_id: str, kind: str, text: str, config: LabelConfig) -> Question:
    return Question(
        key=doc_id,
        messages=ask_about(RUBRICS[kind], text, config.text_budget_chars),
        schema_name=SCHEMA_NAME,
        schema=SCHEMA,
        max_tokens=config.max_answer_tokens,
    )


def _texts_of(doc_ids: set[str], paths: Iterable[Path]) -> dict[str, str]:
    wanted = pa.array(sorted(doc_ids), pa.string())
    found: dict[str, str] = {}
    for batch in read_batches(paths, ["doc_id", "text"]):
        rows = batch.filter(pc.is_in(batch["doc_id"], value_set=wanted))
        found.update(zip(rows["doc_id"].to_pylist(), rows["text"].to_pylist(), strict=True))
    return found


def _rows(
    sample: Sample, answers: list[Answer], annotator: str, config: LabelConfig, seed: int
) -> list[dict[str, Any]]:
    return [
        {
            "doc_id": candidate.doc_id,
            "annotator": annotator,
            "rubric": RUBRICS[candidate.kind].ref,
            "score": _score(answer),
            "justification": answer.content["justification"] if answer.content else None,
            "unlabelled_reason": answer.problem,
            "split": split_of(candidate.group, seed, config.test_share),
            "raw_answer": answer.raw,
        }
        for candidate, answer in zip(sample.drawn, answers, strict=True)
    ]


def _score(answer: Answer) -> int | None:
    """The score; to the schema, 3.0 is an integer too."""
    return int(answer.content["score"]) if answer.content else None


def _histogram(sample: Sample, answers: list[Answer]) -> dict[str, dict[str, int]]:
    """Labels by kind and score."""
    counts: dict[str, dict[str, int]] = {}
    for candidate, answer in zip(sample.drawn, answers, strict=True):
        score = _score(answer)
        if score is not None:
            by_score = counts.setdefault(candidate.kind, {str(n): 0 for n in range(6)})
            by_score[str(score)] += 1
    return dict(sorted(counts.items()))


def _write_sample(path: Path, sample: Sample) -> None:
    strata = {
        name: {"drawn": drawn, "available": available}
        for name, (drawn, available) in sample.strata.items()
    }
    path.write_text(json.dumps({"strata": strata, "held_out": sample.held_out}, indent=1) + "\n")


def _plot(path: Path, histogram: dict[str, dict[str, int]], annotator: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for i, (kind, by_score) in enumerate(histogram.items()):
        places = [int(score) + 0.4 * (i - (len(histogram) - 1) / 2) for score in by_score]
        axes.bar(places, list(by_score.values()), width=0.4, label=kind)
    axes.set(xlabel="score", ylabel="documents", title=f"labels by {annotator}")
    axes.legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})


STAGE = Stage(
    number=3,
    name="label",
    version=1,
    needs=("clean",),
    makes=("labels.parquet", "sample.json", "labels.png"),
    sees=(LabelConfig, TeacherConfig, ValidationConfig),
    work=label,
)
