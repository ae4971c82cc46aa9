"""How a draw becomes a prompt: labelled lines for the choices, the extract between markers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.draws import AUDIENCES, FORMATS, STYLES, Draw
from pipeline.extracts import Extract
from pipeline.rubrics import disclose, enclose

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
with exactly what it prints. Do not speak of the extract, of these instructions or of yourself.
Where the extract gives nothing to teach, say why in `refusal` and leave the rest empty."""

_EXERCISE = """You write one exercise in Python, grounded in the extract: `prompt` is the signature
of a function with a docstring that says what it must do, `solution` is the whole function with its
imports, `tests` are assert statements that fail for a function without a body. Where the extract
gives nothing to ask, say why in `refusal` and leave the rest empty."""


def render_prompt(draw: Draw, extract: Extract) -> tuple[dict[str, str], ...]:
    """The messages of a draw."""
    lines = [
        f"topic: {extract.topic}",
        f"audience: {draw.audience}. {AUDIENCES[draw.audience]}",
        f"format: {draw.format}. {FORMATS[draw.format]}",
        f"style: {draw.style}. {STYLES[draw.style]}",
        f"words: {', '.join(draw.words)}",
        enclose(extract.text),
    ]
    system = _LESSON if draw.task == "lesson" else _EXERCISE
    return (
        {"role": "system", "content": system},
        {"role": "user", "content": "\n".join(lines)},
    )


def read_prompt(message: str) -> tuple[Mapping[str, str], str]:
    """The choices and the extract of a rendered prompt: what a writer by rules goes by.

    Raises ValueError where it is no such prompt.
    """
    extract = disclose(message)
    if extract is None:
        raise ValueError("the prompt holds no extract between markers")
    head = message.partition("<document ")[0]
    return dict(re.findall(r"^(\w+): ([^.\n]+)", head, re.M)), extract
