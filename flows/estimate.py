"""What the teacher would be asked and would cost at most, before any call: for the dry run.

The requests are really rendered, with a text of the full budget in them; a token is taken as four
characters of English (OpenAI's rule of thumb), an answer as the longest that the recipe allows.
So these are upper figures of what to expect, and not the hard cap: that one counts bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.recipe import Recipe
from pipeline.draws import draw
from pipeline.extracts import Extract
from pipeline.prompts import render_prompt
from pipeline.question import CHARS_PER_TOKEN
from pipeline.rubrics import ask_about, load_rubric
from pipeline.step import Step
from pipeline.teacher_config import TeacherConfig

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


def estimate_teacher(recipe: Recipe, plan: Mapping[str, Step]) -> list[Estimate]:
    """The requests of every stage of the plan that is not sealed yet."""
    estimates = [*_labels(recipe), *_drafts(recipe)]
    return [e for e in estimates if e.stage in plan and plan[e.stage].state != "sealed"]


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


def _drafts(recipe: Recipe) -> list[Estimate]:
    config = recipe.synthesize
    extract = Extract("", "code", "", None, "topic", "x" * config.extract_chars)
    estimates = []
    for task, slots in (("lesson", config.textbooks), ("exercise", config.exercises)):
        prompt = render_prompt(draw(task, 0, 0, 1, recipe.seed), extract)
        most = slots * (1 + config.max_redraws) * _REPAIRED
        estimates.append(
            Estimate(
                "synthesize", f"{task}s", slots, most, _tokens(prompt), config.max_answer_tokens,
                recipe.teacher,
            )
        )  # fmt: skip
    return estimates


def _tokens(messages: tuple[dict[str, str], ...]) -> int:
    return -(-sum(len(message["content"]) for message in messages) // CHARS_PER_TOKEN)
