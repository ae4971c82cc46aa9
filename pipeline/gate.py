"""Is a written piece good enough? The filter's forest and the labeller's rubric say so.

Both judge what people wrote by the same measure, so a synthetic piece below it would lower the
corpus that it is added to. The forest costs nothing and goes first; the rubric is one more request
for each piece that stands, and its answer is as sure as the teacher is about its own writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import Field

from pipeline.config import Section
from pipeline.label import LabelConfig
from pipeline.question import Question
from pipeline.rubrics import SCHEMA, SCHEMA_NAME, ask_about, load_rubric
from pipeline.stage import Workplace
from pipeline.teacher import Teacher


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
    """What was said of a piece, and `reason` where it is not enough."""

    expected_score: float
    rubric_score: int | None = None
    reason: str | None = None
    evidence: str = ""

    def record(self) -> dict[str, Any]:
        """The scores, for the piece's metadata."""
        return {"expected_score": round(self.expected_score, 4), "rubric_score": self.rubric_score}


class Gate:
    """Weighs pieces; opened once, because the forest takes a second or two to open."""

    def __init__(self, place: Workplace, teacher: Teacher, config: GateConfig) -> None:
        from classifiers.scorer import Scorer

        labelling = place.section(LabelConfig)
        self.place, self.teacher, self.config = place, teacher, config
        self.scorer = Scorer.open(place.needs["train-filter"].path)
        self.rubrics = {kind: load_rubric(name) for kind, name in labelling.rubrics.items()}
        self.text_budget_chars = labelling.text_budget_chars
        self.max_answer_tokens = labelling.max_answer_tokens

    def weigh(self, pieces: Sequence[tuple[str, str]]) -> list[Weighed]:
        """For each (text, kind) the scores, in order; the rubric only of what the forest passes."""
        if not pieces:
            return []
        texts, kinds = zip(*pieces, strict=True)
        _, expected, _ = self.scorer.score(pa.array(texts, pa.large_string()), pa.array(kinds))
        least = self.config.min_expected_score
        weighed = [
            Weighed(float(score), None, "low_expected_score", f"{score:.2f} by the forest")
            if least is not None and score < least
            else Weighed(float(score))
            for score in expected
        ]
        if self.config.min_rubric_score is None:
            return weighed
        standing = [i for i, one in enumerate(weighed) if one.reason is None]
        for i, one in zip(standing, self._ask([pieces[i] for i in standing]), strict=True):
            weighed[i] = self._read(weighed[i], *one)
        return weighed

    def _ask(self, pieces: Sequence[tuple[str, str]]) -> list[tuple[int | None, str]]:
        """The rubric's score and the justification, or None and the problem."""
        questions = [
            Question(
                f"gate-{i}", ask_about(self.rubrics[kind], text, self.text_budget_chars),  # type: ignore[index]  # a kind is a Kind
                SCHEMA_NAME, SCHEMA, self.max_answer_tokens,
            )
            for i, (text, kind) in enumerate(pieces)
        ]  # fmt: skip
        with self.place.bar("weighing by the rubric", len(questions)) as advance:
            answers = self.teacher.ask(questions, advance)
        return [
            (int(a.content["score"]), str(a.content["justification"]))
            if a.content
            else (None, str(a.problem))
            for a in answers
        ]

    def _read(self, one: Weighed, score: int | None, said: str) -> Weighed:
        assert self.config.min_rubric_score is not None
        if score is None:
            return Weighed(one.expected_score, None, "not_weighed", said)
        if score < self.config.min_rubric_score:
            return Weighed(one.expected_score, score, "low_rubric_score", f"{score}: {said[:200]}")
        return Weighed(one.expected_score, score)
