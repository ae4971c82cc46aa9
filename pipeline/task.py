"""What a kind of synthetic text is: how it is asked for, judged, compared and stored.

A round of the synthesizer draws, asks, judges and shelves; all that differs between a lesson, an
exercise, a rewritten page and an instruction is said by one object of this protocol. A book takes
many questions that depend on each other, and has a machine of its own (`pipeline.book`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from pipeline.draws import Draw
from pipeline.extracts import Extract
from pipeline.factors import Factors
from pipeline.judge_piece import Judged
from pipeline.sandbox import Sandbox

Messages = tuple[dict[str, str], ...]

_CHOICE = re.compile(r"^(\w+): (.+?)(?:\. .*)?$", re.M)  # to where the instruction begins
_LEVELLED = frozenset({"audience", "format", "style", "difficulty"})
_REFUSAL = {"type": ["string", "null"], "maxLength": 300}


class Task(Protocol):
    """One kind of text. Its methods are pure, so that a killed run repeats them to the byte."""

    @property
    def name(self) -> str:
        """How draws, drop reasons and directories call it."""

    @property
    def schema_name(self) -> str:
        """How the answer's schema is called on the wire; the stand-in goes by it."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of an answer; every schema has a `refusal`, null where it wrote."""

    def messages(self, draw: Draw, extract: Extract) -> Messages:
        """The question."""

    def judge(
        self, content: dict[str, Any], draw: Draw, extract: Extract, sandbox: Sandbox
    ) -> Judged:
        """Whether an answer that fits the schema and does not refuse is accepted."""

    def text(self, content: dict[str, Any], draw: Draw, extract: Extract) -> str:
        """What is compared with other pieces, scored and trained on."""

    def row(self, content: dict[str, Any], draw: Draw, extract: Extract) -> dict[str, Any]:
        """The fields of the document that depend on the task: kind, language, metadata."""


def schema_of(**fields: Any) -> dict[str, Any]:
    """A strict object of these fields and `refusal`; a number stands for a string's most chars."""
    properties = {
        name: {"type": "string", "maxLength": spec} if isinstance(spec, int) else spec
        for name, spec in fields.items()
    }
    properties["refusal"] = _REFUSAL
    return object_of(properties)


def object_of(properties: dict[str, Any]) -> dict[str, Any]:
    """A JSON object that has exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def labelled(draw: Draw, factors: Factors, shown: tuple[str, ...], **lines: str) -> str:
    """A draw's choices as labelled lines, as every prompt shows them, each on one line.

    `shown` names the factors that the prompt states, with the instructions of their levels; `lines`
    are the task's own and come first.
    """
    for name in shown:
        level = getattr(draw, name)
        if name in _LEVELLED:
            texts = {one.name: one.text for one in getattr(factors, name)}
            lines[name] = f"{level}. {texts[level]}"
        elif level is not None:
            lines[name] = ", ".join(level) if name == "words" else level
    return "\n".join(f"{name}: {' '.join(value.split())}" for name, value in lines.items())


def read_choices(message: str) -> dict[str, str]:
    """The choices that `labelled` wrote, each without the sentences that explain it."""
    head = message.partition("<document ")[0]
    return dict(_CHOICE.findall(head))
