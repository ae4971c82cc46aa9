"""A book: an outline, then its sections one after another, in rounds beside other books.

Every open book has one question at a time, because a section rests on those before it. Books go
forward in lockstep (`next_questions`, `take`), and what an answer does depends on its own book
alone, so that neither the order of answers nor a killed run changes what is written.

A rejected draft is asked for again with another draw. When a section's drafts are used up, the
book ends before it: it stays, short, if enough of the planned sections stand (they are in order,
so none of them needs what is missing), and is dropped otherwise. Every draft is accounted for.

What it costs: one request and some runs of the sandbox a section, each with all of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.book_outline import (
    SCHEMA,
    SCHEMA_NAME,
    BookConfig,
    Outline,
    flaw_of_outline,
    outline_messages,
    read_outline,
)
from pipeline.book_section import (
    MOST_SECTION_CHARS,
    Written,
    accept_section,
    flaw_of_section,
    section_messages,
)
from pipeline.book_section import SCHEMA as SECTION_SCHEMA
from pipeline.book_section import SCHEMA_NAME as SECTION_SCHEMA_NAME
from pipeline.draws import Draw
from pipeline.extracts import Extract
from pipeline.factors import Factors
from pipeline.flaws import FlawsConfig
from pipeline.judge_piece import judge_lesson
from pipeline.judged import NOTHING_TO_TEACH, Judged
from pipeline.question import Answer, Question
from pipeline.sandbox import Sandbox

DrawOf = Callable[[int, int], Draw]  # of a part (0 is the outline, 1 the first section), an attempt
TwinOf = Callable[[str], tuple[str, float] | None]  # an accepted piece that a text is like

_CHARS_A_TOKEN = 3  # of Markdown and code in JSON, where quotes and lines take two characters
_FRAME_CHARS, _HEADING_CHARS = 1_000, 200  # of a book and of a section, besides their texts


@dataclass(frozen=True)
class Draft:
    """One answer and what became of it; `reason` is None while it stands."""

    draw: Draw
    reason: str | None
    evidence: str
    failed: bool  # no answer that could be read, as opposed to one that was judged and dropped
    text: str | None  # of a section


class Book:
    """One book on its way; see the module for the order of things."""

    def __init__(
        self, slot: int, materials: Sequence[Extract], draw_of: DrawOf, config: BookConfig,
        max_tokens: int, factors: Factors, flaws: FlawsConfig,
    ) -> None:  # fmt: skip
        self.slot, self.materials, self.config = slot, materials, config
        self.outline: Outline | None = None
        self.written: list[Written] = []
        self.state: Literal["open", "kept", "dropped"] = "open"
        self.ended_by: tuple[str, str] | None = None  # the reason, where it is not complete
        self.executed = 0
        self._draw_of, self._max_tokens = draw_of, max_tokens
        self._factors, self._flaws = factors, flaws
        self._audience: str | None = None  # of the outline that stands; sections keep it
        self._drafts: list[Draft] = []
        self._attempt = 0
        self._rejected: str | None = None

    @property
    def name(self) -> str:
        """How the book is called among the prompts."""
        return f"book-{self.slot:07}"

    @property
    def section_chars(self) -> int:
        """What each section may take: within the book's bound, and the answer's."""
        assert self.outline is not None
        room = (self.config.max_chars - _FRAME_CHARS) // len(self.outline.sections)
        return min(room - _HEADING_CHARS, MOST_SECTION_CHARS, _CHARS_A_TOKEN * self._max_tokens)

    @property
    def _material(self) -> int:
        """Which material the next question is about; the first, for an outline."""
        return self.outline.sections[len(self.written)].material if self.outline else 0

    def draw(self) -> Draw:
        """The draw of the next question; what it is grounded in is the book's, not the plan's."""
        part = 0 if self.outline is None else len(self.written) + 1
        one = self._draw_of(part, self._attempt)
        return replace(
            one,
            prompt_id=f"{self.name}-{part:02}-{self._attempt}",
            slot=self.slot,
            extract=self._material,
            doc_id=self.materials[self._material].doc_id,
            skill=None,
            audience=self._audience or one.audience,
        )

    def question(self) -> Question:
        """The next question of an open book."""
        one = self.draw()
        if self.outline is None:
            messages = outline_messages(one, self._factors, self.materials, self.config)
            return Question(one.prompt_id, messages, SCHEMA_NAME, SCHEMA, self._max_tokens)
        messages = section_messages(
            one, self._factors, self.outline, self.written, self.materials[self._material],
            self.section_chars, self._rejected,
        )  # fmt: skip
        return Question(
            one.prompt_id, messages, SECTION_SCHEMA_NAME, SECTION_SCHEMA, self._max_tokens
        )

    def judge(self, answer: Answer, sandbox: Sandbox) -> Judged:
        """The verdict on an answer; changes nothing, so that books may be judged side by side."""
        content = answer.content
        if content is None:
            return Judged(answer.problem, (answer.raw or "")[:200], 0)
        if content["refusal"]:
            return Judged(NOTHING_TO_TEACH, content["refusal"], 0)
        if self.outline is not None:
            prompt = "\n".join(message["content"] for message in self.question().messages)
            flaw = flaw_of_section(
                content, self.outline, self.written, self.section_chars, self.config
            )
            return Judged(*flaw, 0) if flaw else judge_lesson(content, sandbox, prompt, self._flaws)
        flaw = flaw_of_outline(read_outline(content), len(self.materials), self.config)
        return Judged(*flaw, 0) if flaw else Judged(None, "", 0)

    def settle(self, answer: Answer, verdict: Judged, twin_of: TwinOf) -> None:
        """Take an answer and its verdict: go forward, ask again, or end."""
        one, content = self.draw(), answer.content
        reason, evidence = verdict.reason, verdict.evidence
        self.executed += verdict.blocks
        if reason is None and self.outline is not None and content is not None:
            twin = twin_of(content["text"])
            if twin is not None:
                reason, evidence = "near_copy", f"of {twin[0]}, similarity {twin[1]:.2f}"
        said = content.get("text") if content is not None else None
        self._drafts.append(Draft(one, reason, evidence, content is None, said or None))
        if reason is not None or content is None:
            self._again(reason or "unknown", evidence)
            return
        if self.outline is None:
            self.outline, self._audience = read_outline(content), one.audience
        else:
            number = len(self.written)
            self.written.append(accept_section(content, self.outline, number, one.prompt_id))
        self._attempt, self._rejected = 0, None
        if len(self.written) == len(self.outline.sections):
            self.state = "kept"

    def _again(self, reason: str, evidence: str) -> None:
        """Draw anew, or end the book where its drafts are used up."""
        self._attempt, self._rejected = self._attempt + 1, reason
        hopeless = reason == NOTHING_TO_TEACH and self.outline is None  # so are its materials
        if self._attempt <= self.config.max_redraws and not hopeless:
            return
        self.ended_by = (reason, evidence)
        planned = len(self.outline.sections) if self.outline else 0
        fewest = max(self.config.min_sections, self.config.min_standing_share * planned)
        self.state = "kept" if planned and len(self.written) >= fewest else "dropped"

    @property
    def has_nothing_to_teach(self) -> bool:
        """Whether the writer found nothing in its materials to make an outline of."""
        return (
            self.outline is None
            and self.ended_by is not None
            and (self.ended_by[0] == NOTHING_TO_TEACH)
        )

    def drop(self, reason: str, evidence: str) -> None:
        """Give up a book that was finished: a near copy as a whole, say, or of too low a score."""
        self.ended_by, self.state = (reason, evidence), "dropped"

    def drafts(self) -> list[Draft]:
        """Every draft of a book that has ended; with a dropped book go those that stood."""
        if self.state != "dropped" or self.ended_by is None:
            return list(self._drafts)
        why = f"{self.name}: {self.ended_by[0]}, {self.ended_by[1]}"
        return [
            one if one.reason else replace(one, reason="book_dropped", evidence=why)
            for one in self._drafts
        ]

    def record(self) -> dict[str, Any]:
        """The choices of the draw that the book was planned by."""
        planned = next(one for one in self._drafts if one.reason is None)
        return planned.draw.record()


def next_questions(books: Sequence[Book]) -> list[Question]:
    """One question of each book that is open, in the order of the books."""
    return [book.question() for book in books if book.state == "open"]


def take(
    books: Sequence[Book], answers: Sequence[Answer], verdicts: Sequence[Judged],
    twin_of: TwinOf = lambda _: None,
) -> None:  # fmt: skip
    """Give each open book the answer to its question and the verdict on it, in their order."""
    asked = [book for book in books if book.state == "open"]
    for book, answer, verdict in zip(asked, answers, verdicts, strict=True):
        book.settle(answer, verdict, twin_of)
