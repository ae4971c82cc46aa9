"""What the teacher would be asked and would cost at most, before any call: for the dry run.

The requests are really rendered, with a text of the full budget in them; a token is taken as four
characters of English (OpenAI's rule of thumb), an answer as the longest that the recipe allows.
So these are upper figures of what to expect, and not the hard cap: that one counts bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flows.recipe import Recipe
from pipeline.book_outline import outline_messages
from pipeline.curriculum_from_corpus import (
    SHOWN,
    SHOWN_CHARS,
    TERMS,
    Cluster,
    cluster_questions,
)
from pipeline.extracts import Extract
from pipeline.ground import FROM_CORPUS, Ground
from pipeline.increment import is_inherited
from pipeline.personas import Persona, persona_questions
from pipeline.question import CHARS_PER_TOKEN, Question
from pipeline.rubrics import ask_about, load_rubric
from pipeline.step import Step
from pipeline.synthesize import make_task, planned
from pipeline.teacher_config import TeacherConfig

_PLAN_TOKENS = 250  # of a skill, the skills that it needs, a persona
_GLOSSARY_TOKENS = 2_000  # of the outline and of what was taught, before the last section
TOKENS_PER_S = 50  # of one answer; hosted models write 30 to 100
_REPAIRED = 2  # requests at most: an answer that cannot be used is repaired once


@dataclass(frozen=True)
class Estimate:
    """Requests of one sort: as planned, and at most, with all redraws and repairs."""

    stage: str
    what: str
    calls: int
    most_calls: int
    prompt_tokens: int  # of one request
    answer_tokens: int  # of one answer
    teacher: TeacherConfig

    def cost(self, calls: int) -> float:
        """Of so many calls, in the prices' currency."""
        batched = self.teacher.batch is not None
        return self.teacher.cost(calls * self.prompt_tokens, calls * self.answer_tokens, batched)

    def hours(self, calls: int) -> float:
        """Of so many calls: what the slowest of concurrency and the endpoint's limits takes."""
        teacher = self.teacher
        by_window = calls * self.answer_tokens / TOKENS_PER_S / teacher.max_concurrency / 3_600
        tokens = calls * (self.prompt_tokens + self.answer_tokens)
        by_limits = [
            amount / limit / 60
            for amount, limit in ((calls, teacher.requests_per_minute),
                                  (tokens, teacher.tokens_per_minute))
            if limit
        ]  # fmt: skip
        return max(by_window, *by_limits, 0.0)


def estimate_teacher(recipe: Recipe, plan: Mapping[str, Step]) -> list[Estimate]:
    """The requests of every stage of the plan that is not sealed yet."""
    estimates = [*_labels(recipe), *_plan(recipe), *_drafts(recipe)]
    return [
        e for e in estimates
        if e.stage in plan and plan[e.stage].state != "sealed"
        and not is_inherited(e.stage, recipe.increment)
    ]  # fmt: skip


def _labels(recipe: Recipe) -> list[Estimate]:
    """The first reading, the second one, and those of further annotators."""
    config = recipe.label
    size, prompt = config.sample_size, _longest(recipe, config.rubrics)
    readings = [("labels", size, prompt, recipe.teacher)]
    if config.again_share is not None:
        share = round(size * config.again_share)
        readings.append(("second readings", share, prompt, recipe.teacher))
    for further in config.annotators:
        longest = _longest(recipe, {**config.rubrics, **further.rubrics})
        share = round(size * further.share)
        readings.append((further.name, share, longest, further.teacher or recipe.teacher))
    return [
        Estimate("label", what, n, _REPAIRED * n, longest, config.max_answer_tokens, teacher)
        for what, n, longest, teacher in readings
    ]


def _longest(recipe: Recipe, rubrics: Mapping[Any, str]) -> int:
    """Tokens of a prompt with a text of the whole budget, under the longest of the rubrics."""
    budget_chars = recipe.label.text_budget_chars
    text = "x" * budget_chars
    return max(_tokens(ask_about(load_rubric(r), text, budget_chars)) for r in rubrics.values())


def _plan(recipe: Recipe) -> Iterator[Estimate]:
    """What the plan itself asks: names of clusters, and personas in the teacher's words."""
    plan, long = recipe.synthesize.plan, "x" * recipe.synthesize.extract_chars
    asked: list[tuple[str, int, Question]] = []
    if plan.curriculum == FROM_CORPUS:
        (question,) = cluster_questions(
            [Cluster(1, ("x" * 12,) * TERMS, (long[:SHOWN_CHARS],) * SHOWN)]
        )
        asked.append(("names of clusters", plan.curriculum_clusters, question))
    if plan.max_personas and plan.personas_by_teacher:
        (question,) = persona_questions([{"doc_id": "", "text": long}], [Persona(long[:200], "")])
        asked.append(("personas", plan.max_personas, question))
    for what, n, question in asked:
        prompt = _tokens(question.messages)
        yield Estimate(
            "synthesize", what, n, _REPAIRED * n, prompt, question.max_tokens, recipe.teacher
        )


def _drafts(recipe: Recipe) -> Iterator[Estimate]:
    """Each task's slots, the parts of books, and the rubric's word on every piece."""
    config = recipe.synthesize
    tokens, teacher = config.max_answer_tokens, recipe.teacher
    extract = Extract("", "code", "", None, "topic", "x" * config.extract_chars)
    ground = Ground(config.plan, recipe.seed, None, [])
    pieces = 0
    for name, slots in planned(config).items():
        if name == "book":
            yield from _books(recipe, ground, extract)
            continue
        one = ground.plan(name, [extract]).draw(0)
        prompt = _tokens(make_task(name, config, ground).messages(one, extract)) + _PLAN_TOKENS
        most = slots * (1 + config.max_redraws) + config.max_extracts  # refusals are no redraws
        pieces += most
        yield Estimate("synthesize", f"{name}s", slots, most * _REPAIRED, prompt, tokens, teacher)
    if config.gate.min_rubric_score is not None:
        asked, label = sum(planned(config).values()), recipe.label
        most = (pieces + config.book.books) * _REPAIRED
        longest = _longest(recipe, label.rubrics)
        yield Estimate(
            "synthesize", "weighed by the rubric", asked, most, longest, label.max_answer_tokens,
            teacher,
        )  # fmt: skip


def _books(recipe: Recipe, ground: Ground, extract: Extract) -> Iterator[Estimate]:
    """Outlines, then as many sections as a book has at most, each with all of the plan."""
    config = recipe.synthesize
    book, tokens = config.book, config.max_answer_tokens
    most_drafts = (1 + book.max_redraws) * _REPAIRED
    materials = [extract] * book.max_sections
    plan = ground.plan("book", materials)
    outline = _tokens(outline_messages(plan.draw(0), plan.factors, materials, book))
    section = outline // len(materials) + _tokens(({"content": extract.text},)) + _GLOSSARY_TOKENS
    shelves = config.max_extracts // book.min_sections  # each may be refused before one is not
    for what, n, more, prompt in (
        ("outlines", book.books, shelves * _REPAIRED, outline),
        ("sections", book.books * book.max_sections, 0, section),
    ):
        most = n * most_drafts + more
        yield Estimate("synthesize", what, n, most, prompt, tokens, recipe.teacher)


def _tokens(messages: tuple[dict[str, str], ...]) -> int:
    return -(-sum(len(message["content"]) for message in messages) // CHARS_PER_TOKEN)
