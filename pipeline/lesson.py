"""The task of writing one piece of a textbook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.curriculum import Curriculum
from pipeline.draws import Draw
from pipeline.extracts import Extract
from pipeline.factors import Factors
from pipeline.flaws import FlawsConfig
from pipeline.judge_piece import Judged, judge_lesson
from pipeline.prompts import SCHEMAS, render_prompt
from pipeline.sandbox import Sandbox
from pipeline.task import Messages


@dataclass(frozen=True)
class Lesson:
    """Markdown prose with code that runs; `pipeline.task` states the protocol."""

    factors: Factors
    curriculum: Curriculum | None
    flaws: FlawsConfig

    name = schema_name = "lesson"
    schema = SCHEMAS["lesson"]

    def messages(self, draw: Draw, extract: Extract) -> Messages:
        """The choices, and the extract between markers."""
        return render_prompt(draw, extract, self.factors, self.curriculum)

    def judge(
        self, content: dict[str, Any], draw: Draw, extract: Extract, sandbox: Sandbox
    ) -> Judged:
        """Whole and clean, and its code does what it says."""
        asked = "\n".join(message["content"] for message in self.messages(draw, extract))
        return judge_lesson(content, sandbox, asked, self.flaws)

    def text(self, content: dict[str, Any], _draw: Draw, _extract: Extract) -> str:
        """The piece in Markdown."""
        return str(content["text"])

    def row(self, content: dict[str, Any], _draw: Draw, _extract: Extract) -> dict[str, Any]:
        """A page of prose, whatever code is in it."""
        return {"kind": "web", "language": "en", "metadata": {"title": content["title"]}}
