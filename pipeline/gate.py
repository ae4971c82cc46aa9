"""Is a written piece good enough? The filter's forest and the labeller's rubric say so.

Both judge what people wrote by the same measure, so a synthetic piece below it would lower the
corpus that it is added to. The forest costs nothing and goes first; the rubric is one more request
for each piece that stands, and its answer is as sure as the teacher is about its own writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from pipeline.config import Section
from pipeline.label import LabelConfig
from pipeline.question import Answer, Question
from pipeline.rubrics import SCHEMA, SCHEMA_NAME, Kind, ask_about, load_rubric
from pipeline.stage import Workplace
from pipeline.teacher import Teacher

if TYPE_CHECKING:
    from classifiers.scorer import Scorer

Piece = tuple[str, Kind]  # text and kind


class GateConfig(Section):
    """Limits that a piece must reach, on the scale of labels (0 to 5)."""

    min_expected_score: float | None = Field(
        1.0, ge=0, le=5, description="Least expected score by the filter's forest; null for none."
    )
    min_rubric_score: int | None = Field(
        3, ge=0, le=5,
        description="Least score by the labeller's rubric, asked of the teacher once for each "
        "piece that stands; null to ask nothing.",
    )  # fmt: skip


@dataclass(frozen=True)
class Weighed:
    """What was said of a piece, null where nobody was asked; `reason` where it is not enough."""

    expected_score: float | None = None
    rubric_score: int | None = None
    reason: str | None = None
    evidence: str = ""

    def record(self) -> dict[str, Any]:
        """The scores, for the piece's metadata."""
        return {"expected_score": self.expected_score, "rubric_score": self.rubric_score}


class Gate:
    """Weighs pieces; opened once, because the forest takes a second or two to open."""

    def __init__(self, place: Workplace, teacher: Teacher, config: GateConfig) -> None:
        labelling = place.section(LabelConfig)
        self.place, self.teacher, self.config = place, teacher, config
        self.rubrics = {kind: load_rubric(name) for kind, name in labelling.rubrics.items()}
        self.text_budget_chars = labelling.text_budget_chars
        self.max_answer_tokens = labelling.max_answer_tokens

    def weigh(self, pieces: Sequence[Piece]) -> list[Weighed]:
        """For each (text, kind) the scores, in order; the rubric only of what the forest passes."""
        weighed = self._by_forest(pieces) if pieces else []
        if self.config.min_rubric_score is None:
            return weighed
        standing = [i for i, one in enumerate(weighed) if one.reason is None]
        answers = self._ask([pieces[i] for i in standing]) if standing else []
        for i, answer in zip(standing, answers, strict=True):
            weighed[i] = self._by_rubric(weighed[i], answer)
        return weighed

    @cached_property
    def _scorer(self) -> Scorer:
        from classifiers.scorer import Scorer

        return Scorer.open(self.place.needs["train-filter"].path)

    def _by_forest(self, pieces: Sequence[Piece]) -> list[Weighed]:
        least = self.config.min_expected_score
        if least is None:
            return [Weighed()] * len(pieces)
        texts, kinds = zip(*pieces, strict=True)
        _, expected, _ = self._scorer.score(pa.array(texts, pa.large_string()), pa.array(kinds))
        return [
            Weighed(
                round(float(score), 4), None, "low_expected_score", f"{score:.2f} by the forest"
            )
            if score < least
            else Weighed(round(float(score), 4))
            for score in expected
        ]

    def _ask(self, pieces: Sequence[Piece]) -> list[Answer]:
        questions = [
            Question(
                f"gate-{i}", ask_about(self.rubrics[kind], text, self.text_budget_chars),
                SCHEMA_NAME, SCHEMA, self.max_answer_tokens,
            )
            for i, (text, kind) in enumerate(pieces)
        ]  # fmt: skip
        with self.place.bar("weighing by the rubric", len(questions)) as advance:
            return self.teacher.ask(questions, advance)

    def _by_rubric(self, one: Weighed, answer: Answer) -> Weighed:
        assert self.config.min_rubric_score is not None
        if answer.content is None:
            return replace(one, reason="not_weighed", evidence=str(answer.problem))
        score, said = int(answer.content["score"]), str(answer.content["justification"])
        if score < self.config.min_rubric_score:
            one = replace(one, reason="low_rubric_score", evidence=f"{score}: {said[:200]}")
        return replace(one, rubric_score=score)
