"""The task of writing one exercise: a function to complete, its solution, and tests (phi-1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.curriculum import Curriculum
from pipeline.draws import Draw
from pipeline.extracts import Extract
from pipeline.factors import Factors
from pipeline.judge_piece import Judged, judge_exercise
from pipeline.prompts import SCHEMAS, render_prompt
from pipeline.sandbox import Sandbox
from pipeline.task import Messages


@dataclass(frozen=True)
class Exercise:
    """Code with tests that fail without the solution; `pipeline.task` states the protocol."""

    factors: Factors
    curriculum: Curriculum | None

    name = schema_name = "exercise"
    schema = SCHEMAS["exercise"]

    def messages(self, draw: Draw, extract: Extract) -> Messages:
        """The choices, and the extract between markers."""
        return render_prompt(draw, extract, self.factors, self.curriculum)

    def judge(
        self, content: dict[str, Any], _draw: Draw, _extract: Extract, sandbox: Sandbox
    ) -> Judged:
        """The tests pass with the solution, and fail without its body."""
        return judge_exercise(content, sandbox)

    def text(self, content: dict[str, Any], _draw: Draw, _extract: Extract) -> str:
        """The solution, and the tests below it: a file that runs."""
        return f"{content['solution'].rstrip()}\n\n\n{content['tests'].strip()}\n"

    def row(self, content: dict[str, Any], _draw: Draw, _extract: Extract) -> dict[str, Any]:
        """A file of code, with what a reader is asked to complete."""
        return {"kind": "code", "language": "python", "metadata": {"prompt": content["prompt"]}}
