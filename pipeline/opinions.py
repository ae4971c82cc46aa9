"""Opinions: what one annotator says of a document; there may be several, and a second reading.

An annotator is a teacher with a rubric for each kind of document. The first annotator reads the
whole sample. It reads a share of it again, in another window, which tells how far it agrees with
itself; further annotators (another model, another rubric) read the shares that the recipe gives
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.manifest import Spend
from pipeline.question import Answer, Question
from pipeline.records import read_batches
from pipeline.rubrics import SCHEMA, SCHEMA_NAME, Kind, Rubric, ask_about, load_rubric
from pipeline.sampling import Candidate
from pipeline.splits import place_of
from pipeline.stage import Workplace
from pipeline.teacher import Teacher
from pipeline.teacher_config import TeacherConfig

AGAIN = ", again"  # ends the name of a second reading
HUMAN = "human"  # the name of people among the annotators


class AnnotatorConfig(Section):
    """A further annotator: another model, another rubric, or both."""

    name: str = Field(pattern=r"^[^\n]{1,60}$", description="What the reports call it.")
    share: float = Field(0.2, gt=0, le=1, description="Share of the sample that it reads.")
    rubrics: dict[Kind, str] = Field(
        {}, description="Rubric by kind, built in or a file; the first annotator's where left out."
    )
    teacher: TeacherConfig | None = Field(
        None, description="Its own teacher, with prices and a cap of its own; null for the first's."
    )


@dataclass(frozen=True)
class Annotator:
    """Who reads, under which rubrics, in which window, and how much of the sample."""

    name: str
    rubrics: Mapping[str, Rubric]
    share: float = 1.0
    view: int = 0
    teacher: TeacherConfig | None = None  # null: the first annotator's

    def again(self, share: float) -> Annotator:
        """The same one, reading a share of the documents again in another window."""
        return replace(self, name=self.name + AGAIN, share=share, view=1)

    def share_of(self, drawn: Iterable[Candidate], seed: int) -> list[Candidate]:
        """The documents that it reads."""
        ranked = sorted(drawn, key=lambda c: place_of(c.doc_id, seed, f"read by {self.name}"))
        return ranked[: round(len(ranked) * self.share)]


def load_rubrics(names: Mapping[Kind, str]) -> dict[str, Rubric]:
    """The rubrics by kind. Raises InputError for one that cannot be had, or is of another kind."""
    rubrics = {str(kind): load_rubric(name) for kind, name in names.items()}
    for kind, rubric in rubrics.items():
        if rubric.kind not in {kind, "any"}:
            raise InputError(
                "label",
                f"the rubric {rubric.name!r} is for {rubric.kind!r}, and documents are {kind!r}",
                "correct label.rubrics, or say kind: any in the rubric",
            )
    return rubrics


def make_annotators(
    teacher: Teacher, rubrics: Mapping[Kind, str], again_share: float | None,
    further: Sequence[AnnotatorConfig],
) -> list[Annotator]:  # fmt: skip
    """The first annotator, its second reading, and the further ones.

    Raises InputError for what the recipe gets wrong, before anything is asked: a rubric that cannot
    be had, a name that is taken, prices in another currency.
    """
    first = Annotator(teacher.name, load_rubrics(rubrics))
    annotators = [first] + ([first.again(again_share)] if again_share is not None else [])
    for one in further:
        taken = {HUMAN, *(annotator.name for annotator in annotators)}
        if one.name in taken or one.name.endswith(AGAIN):
            raise InputError(
                "label",
                f"the name {one.name!r} of an annotator is taken",
                "give each of label.annotators a name of its own",
            )
        currency = one.teacher.prices.currency if one.teacher else teacher.spend.currency
        if currency != teacher.spend.currency:
            raise InputError(
                "label",
                f"{one.name!r} has prices in {currency}, and the teacher in "
                f"{teacher.spend.currency}",
                "give all prices in one currency",
            )
        own = {**first.rubrics, **load_rubrics(one.rubrics)}
        annotators.append(Annotator(one.name, own, one.share, teacher=one.teacher))
    return annotators


@dataclass(frozen=True)
class Questions:
    """One annotator's questions about documents, made as they are read, in reading order."""

    documents: Sequence[Path]
    wanted: frozenset[str]
    annotator: Annotator
    budget_chars: int
    max_tokens: int

    def __len__(self) -> int:
        return len(self.wanted)

    def __iter__(self) -> Iterator[Question]:
        ids = pa.array(sorted(self.wanted), pa.string())
        for batch in read_batches(self.documents, ["doc_id", "kind", "text"]):
            for row in batch.filter(pc.is_in(batch["doc_id"], value_set=ids)).to_pylist():
                yield self._question(row)

    def _question(self, row: Mapping[str, Any]) -> Question:
        annotator = self.annotator
        messages = ask_about(
            annotator.rubrics[row["kind"]], row["text"], self.budget_chars, annotator.view
        )
        return Question(row["doc_id"], messages, SCHEMA_NAME, SCHEMA, self.max_tokens)


@dataclass
class Desk:
    """Where annotators read: the documents, how they are shown, and what further ones cost."""

    place: Workplace
    documents: Sequence[Path]
    budget_chars: int
    max_tokens: int
    other_spends: list[Spend] = field(default_factory=list)

    def ask(
        self, teacher: Teacher, annotator: Annotator, drawn: Iterable[Candidate]
    ) -> Iterator[dict[str, Any]]:
        """Ask one annotator about its share of the documents; yields rows of `records.OPINION`."""
        kind_of = {c.doc_id: c.kind for c in annotator.share_of(drawn, self.place.seed)}
        questions = Questions(
            self.documents, frozenset(kind_of), annotator, self.budget_chars, self.max_tokens
        )  # fmt: skip
        with self.place.bar(f"asking {annotator.name}", len(questions)) as advance:
            teacher.fetch(questions, advance)
        for answer in teacher.answers_to(questions):
            yield _row(annotator, annotator.rubrics[kind_of[answer.key]], answer)


def _row(annotator: Annotator, rubric: Rubric, answer: Answer) -> dict[str, Any]:
    said = answer.content
    return {
        "doc_id": answer.key,
        "annotator": annotator.name,
        "rubric": rubric.ref,
        "score": None if said is None else int(said["score"]),  # to the schema, 3.0 is one too
        "justification": said and said["justification"],
        "unlabelled_reason": answer.problem,
        "raw_answer": answer.raw,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
    }
