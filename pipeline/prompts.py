"""How a draw becomes a prompt: labelled lines for the choices, the extract between markers.

Every level comes with its instruction in full. The skill says what may be taken as known, so that
a piece need not begin at the beginning; the extract's own topic is stated only where the draw says
so (else the writer finds what the extract is good for).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.curriculum import Curriculum
from pipeline.draws import STATED, Draw
from pipeline.extracts import Extract
from pipeline.factors import TO_COMPLETE, Factors, Level
from pipeline.rubrics import disclose, enclose

_MOST_KNOWN = 12  # skills named as known; those nearest to the draw's own
_REFUSAL = {"type": ["string", "null"], "maxLength": 300}


def _schema(**texts: int) -> dict[str, Any]:
    fields = {name: {"type": "string", "maxLength": most} for name, most in texts.items()}
    properties = {**fields, "refusal": _REFUSAL}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS = {
    "lesson": _schema(title=200, text=20_000),
    "exercise": _schema(prompt=6_000, solution=8_000, tests=6_000),
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
    draw: Draw,
    extract: Extract,
    factors: Factors | None = None,
    curriculum: Curriculum | None = None,
) -> tuple[dict[str, str], ...]:
    """The messages of a draw; `factors` and `curriculum` are those of its plan."""
    lines = [
        *([f"topic: {' '.join(extract.topic.split())}"] if draw.topic == STATED else []),
        *_skill_lines(draw, curriculum),
        *_level_lines(draw, factors or Factors()),
        *([f"persona: {draw.persona}"] if draw.persona else []),
        f"words: {', '.join(draw.words)}",
        enclose(extract.text),
    ]
    system = _EXERCISE if draw.task == "exercise" else _LESSON
    return (
        {"role": "system", "content": system},
        {"role": "user", "content": "\n".join(lines)},
    )


def _skill_lines(draw: Draw, curriculum: Curriculum | None) -> list[str]:
    if curriculum is None or draw.skill is None:
        return []
    known = [skill.name for skill in curriculum.known_before(draw.skill)][-_MOST_KNOWN:]
    return [
        f"skill: {curriculum.by_id[draw.skill].name}",
        f"known: {'; '.join(known) or 'nothing'}",
    ]


def _level_lines(draw: Draw, factors: Factors) -> list[str]:
    shown: list[tuple[str, str, tuple[Level, ...]]] = [
        ("audience", draw.audience, factors.audience),
        ("format", draw.format, factors.format + TO_COMPLETE),
        ("style", draw.style, factors.style),
        ("difficulty", draw.difficulty, factors.difficulty),
    ]
    return [
        f"{label}: {name}. {next(level.text for level in levels if level.name == name)}"
        for label, name, levels in shown
    ]


def read_prompt(message: str) -> tuple[Mapping[str, str], str]:
    """The choices and the extract of a rendered prompt: what a writer by rules goes by.

    A choice ends with its line, or where its instruction begins. Raises ValueError where it is no
    such prompt.
    """
    extract = disclose(message)
    if extract is None:
        raise ValueError("the prompt holds no extract between markers")
    head = message.partition("<document ")[0]
    return dict(re.findall(r"^(\w+): (.+?)(?:\. .*)?$", head, re.M)), extract
