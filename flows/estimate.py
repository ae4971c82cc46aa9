"""What the teacher would be asked and would cost at most, before any call: for the dry run.

The requests are really rendered, with a text of the full budget in them; a token is taken as four
characters of English (OpenAI's rule of thumb), an answer as the longest that the recipe allows.
So these are upper figures of what to expect, and not the hard cap: that one counts bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.recipe import Recipe
from pipeline.draws import draw
from pipeline.extracts import Extract
from pipeline.prompts import render_prompt
from pipeline.rubrics import RUBRICS, ask_about
from pipeline.step import Step

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """Requests of one sort: as planned, and at most where a rejected draft is asked for anew."""

    stage: str
    what: str
    calls: int
    most_calls: int
    prompt_tokens: int  # of one request
    answer_tokens: int  # of one answer

    def cost(self, recipe: Recipe, calls: int) -> float:
        """Of so many calls, in the prices' currency."""
        return recipe.teacher.cost(calls * self.prompt_tokens, calls * self.answer_tokens)


def estimate_teacher(recipe: Recipe, plan: Mapping[str, Step]) -> list[Estimate]:
    """The requests of every stage of the plan that is not sealed yet."""
    estimates = [_labels(recipe), *_drafts(recipe)]
    return [e for e in estimates if e.stage in plan and plan[e.stage].state != "sealed"]


def _labels(recipe: Recipe) -> Estimate:
    config = recipe.label
    text = "x" * config.text_budget_chars
    longest = max(
        _tokens(ask_about(rubric, text, config.text_budget_chars)) for rubric in RUBRICS.values()
    )
    size = config.sample_size
    return Estimate("label", "labels", size, size, longest, config.max_answer_tokens)


def _drafts(recipe: Recipe) -> list[Estimate]:
    config = recipe.synthesize
    extract = Extract("", "code", "", None, "topic", "x" * config.extract_chars)
    estimates = []
    for task, slots in (("lesson", config.textbooks), ("exercise", config.exercises)):
        prompt = render_prompt(draw(task, 0, 0, 1, recipe.seed), extract)
        most = slots * (1 + config.max_redraws)
        estimates.append(
            Estimate(
                "synthesize", f"{task}s", slots, most, _tokens(prompt), config.max_answer_tokens
            )
        )
    return estimates


def _tokens(messages: tuple[dict[str, str], ...]) -> int:
    return -(-sum(len(message["content"]) for message in messages) // CHARS_PER_TOKEN)
