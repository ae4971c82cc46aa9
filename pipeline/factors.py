"""What a piece is made of: audiences, formats, styles and difficulties, each with instructions.

A level is a name and a text, and the whole text goes into the prompt: changing only the audience's
name is known to give near copies (Cosmopedia, huggingface.co/blog/cosmopedia), so each level says
what to do otherwise. A recipe adds levels of its own to the built-in ones, or takes their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config import Section


@dataclass(frozen=True)
class Level:
    """One choice of a factor: its name, and what the writer is told to do about it."""

    name: str
    text: str


AUDIENCES = (
    Level("beginner", "The reader has written programs for a month. Explain every step in plain "
          "words, use no term without saying what it means, and leave the cost of running out."),
    Level("student", "The reader is in the first year of computer science. Name the concepts, say "
          "how the work grows with the size of the input, and argue why the result is right."),
    Level("practitioner", "The reader programs for a living in another language. Be brief about "
          "syntax; dwell on what is accepted, what is returned, what is raised, and the edges."),
    Level("teacher", "The reader prepares a class. Say what to show first, which questions to ask, "
          "what answers to expect, and which wrong answers to be ready for."),
    Level("scientist", "The reader analyses data and has never studied programming. Tie each step "
          "to a quantity that is computed, and say how a result can be checked by hand."),
    Level("reviewer", "The reader reviews the code of others. Say what the code promises, which "
          "inputs would break the promise, and what to ask its author."),
)  # fmt: skip
FORMATS = (
    Level("lesson", "Purpose, explanation, a run with its output, what to notice, a task."),
    Level("worked example", "Follow one call through the code, step by step, with the values that "
          "the names take on the way."),
    Level("dialogue", "A learner and a mentor talk and run the code together; the learner errs "
          "once and finds out by running it."),
    Level("exercise", "State what a function must do, with two examples; then give a solution and "
          "tests that a reader can run, and say what each test is for."),
    Level("quiz", "Questions on what calls return, with options; then each answer with the reason "
          "why it is right and why the other options are not."),
    Level("common mistakes", "Calls that fail or surprise: what one expects, what happens, why, "
          "and how to write it instead."),
)  # fmt: skip
STYLES = (
    Level("plain", "Short sentences, one thought each, nothing that does not inform."),
    Level("story", "Framed by a small everyday scene in which the three words occur."),
    Level("questions", "Each part opens with the question that it answers."),
    Level("comparison", "Set what is taught beside another way to do it, and say what each gains."),
    Level("checklist", "Numbered points that a reader can tick off, each with its reason."),
)
DIFFICULTIES = (
    Level("first steps", "One idea only, on the smallest inputs; no special cases."),
    Level("core", "The idea with the inputs that come up every day and one that does not fit."),
    Level("demanding", "Several ideas together; empty, extreme and wrong inputs are dealt with."),
    Level("expert", "Cost, limits and alternatives; what is guaranteed, and what would break it."),
)
TO_COMPLETE = (
    Level("function to complete", "Signature and docstring are given; the body is the reader's."),
)  # the only format of the task `exercise`, whose answer is no running text

Name = Annotated[str, Field(pattern=r"^[^.:\s][^.:\n]{0,59}$")]  # it ends at a full stop


class LevelConfig(Section):
    """A level of a recipe's own."""

    name: Name = Field(description="What it is called in the plan: no full stop, no colon.")
    instruction: str = Field(
        min_length=10, max_length=2_000, pattern=r"^[^\n]*$",
        description="What the writer is told to do, on one line.",
    )  # fmt: skip


Levels = tuple[LevelConfig, ...]


class PlanConfig(Section):
    """What the plan of the pieces draws from."""

    audiences: Levels | None = Field(None, description="Audiences of your own; null: built in.")
    formats: Levels | None = Field(None, description="Formats of your own; null: built in.")
    styles: Levels | None = Field(None, description="Styles of your own; null: built in.")
    difficulties: Levels | None = Field(
        None, description="Difficulties of your own; null: built in."
    )
    replace_built_in: bool = Field(
        False,
        description="Whether lists of your own take the place of the built-in ones; otherwise they "
        "are added to them.",
    )
    topic_left_out_every: int | None = Field(
        3, ge=2, le=100,
        description="One prompt in so many leaves the topic to the writer; null states it always.",
    )  # fmt: skip
    curriculum: str | None = Field(
        "built-in",
        min_length=1,
        description="'built-in', 'from corpus', the path of a YAML file, or null for none.",
    )
    curriculum_clusters: int = Field(
        24, ge=2, le=2_000, description="Clusters of documents in a curriculum from the corpus."
    )
    max_personas: int | None = Field(
        48, ge=1, le=2_000, description="Personas made from the kept documents; null for none."
    )
    personas_by_teacher: bool = Field(
        False, description="Whether the teacher words the personas; otherwise rules do."
    )

    @field_validator("audiences", "formats", "styles", "difficulties")
    @classmethod
    def _can_be_drawn_from(
        cls, levels: tuple[LevelConfig, ...] | None
    ) -> tuple[LevelConfig, ...] | None:
        if levels == ():
            raise ValueError("an empty list leaves nothing to draw from; null is the built-in one")
        names = [level.name for level in levels or ()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is named twice")
        return levels

    @model_validator(mode="after")
    def _none_is_built_in(self) -> Self:
        if not self.replace_built_in:
            for name, levels in _BUILT_IN.items():
                own = {level.name for level in getattr(self, name) or ()}
                if twice := sorted(own & {level.name for level in levels}):
                    raise ValueError(
                        f"{name}: {twice[0]!r} is built in; name yours otherwise, or set "
                        "replace_built_in"
                    )
        return self


_BUILT_IN = {
    "audiences": AUDIENCES, "formats": FORMATS, "styles": STYLES, "difficulties": DIFFICULTIES,
}  # fmt: skip


@dataclass(frozen=True)
class Factors:
    """The levels to draw from; `topic_left_out_every` is None where the topic is always stated."""

    audience: tuple[Level, ...] = AUDIENCES
    format: tuple[Level, ...] = FORMATS
    style: tuple[Level, ...] = STYLES
    difficulty: tuple[Level, ...] = DIFFICULTIES
    topic_left_out_every: int | None = 3

    @classmethod
    def of(cls, config: PlanConfig, task: str) -> Factors:
        """What a recipe draws from for a task; the format of `exercise` is fixed."""
        found = {
            name: _levels(getattr(config, name), levels, config.replace_built_in)
            for name, levels in _BUILT_IN.items()
        }
        return cls(
            audience=found["audiences"],
            format=TO_COMPLETE if task == "exercise" else found["formats"],
            style=found["styles"],
            difficulty=found["difficulties"],
            topic_left_out_every=config.topic_left_out_every,
        )


def _levels(
    own: tuple[LevelConfig, ...] | None, built_in: tuple[Level, ...], replace: bool
) -> tuple[Level, ...]:
    added = tuple(Level(level.name, level.instruction) for level in own or ())
    return added if own and replace else built_in + added
