"""How a draw becomes a prompt: labelled lines for the choices, the extract between markers.

Every level comes with its instruction in full. The skill says what may be taken as known, so that
a piece need not begin at the beginning; the extract's own topic is stated only where the draw says
so (else the writer finds what the extract is good for).
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.curriculum import Curriculum
from pipeline.draws import STATED, Draw
from pipeline.extracts import Extract
from pipeline.factors import Factors
from pipeline.rubrics import disclose, enclose
from pipeline.task import Messages, labelled, read_choices, schema_of

_MOST_KNOWN = 12  # skills named as known; those nearest to the draw's own
_SHOWN = ("audience", "format", "style", "difficulty", "persona", "words")

SCHEMAS = {
    "lesson": schema_of(title=200, text=20_000),
    "exercise": schema_of(prompt=6_000, solution=8_000, tests=6_000),
}

_LESSON = """You write one piece of a textbook on programming in Python, grounded in the extract.
Write Markdown. Put code that runs by itself into ```python blocks, each followed by a ```text block
with exactly what it prints. Let the persona decide what the examples are about, and the three words
occur. Do not speak of the extract, of these instructions or of yourself.
Where the extract gives nothing to teach, say why in `refusal` and leave the rest empty."""

_EXERCISE = """You write one exercise in Python, grounded in the extract: `prompt` is the signature
of a function with a docstring that says what it must do, `solution` is the whole function with its
imports, `tests` are assert statements that fail for a function without a body. Where the extract
gives nothing to ask, say why in `refusal` and leave the rest empty."""


def render_prompt(
    draw: Draw, extract: Extract, factors: Factors, curriculum: Curriculum | None
) -> Messages:
    """The messages of a draw; `factors` and `curriculum` are those of its plan."""
    lines = {"topic": extract.topic} if draw.topic == STATED else {}
    if curriculum is not None and draw.skill is not None:
        known = [skill.name for skill in curriculum.known_before(draw.skill)][-_MOST_KNOWN:]
        lines["skill"] = curriculum.by_id[draw.skill].name
        lines["known"] = "; ".join(known) or "nothing"
    choices = labelled(draw, factors, _SHOWN, **lines)
    return (
        {"role": "system", "content": _EXERCISE if draw.task == "exercise" else _LESSON},
        {"role": "user", "content": f"{choices}\n{enclose(extract.text)}"},
    )


def read_prompt(message: str) -> tuple[Mapping[str, str], str]:
    """The choices and the extract of a rendered prompt: what a writer by rules goes by.

    Raises ValueError where it is no such prompt.
    """
    extract = disclose(message)
    if extract is None:
        raise ValueError("the prompt holds no extract between markers")
    return read_choices(message), extract
