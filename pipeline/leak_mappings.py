"""Which fields of a benchmark's row make an item, and ready-made answers for known benchmarks.

A part is named by a field, or by several joined with "+" (a list of texts fans out, so that
WinoGrande's two beginnings each meet their continuation). Where one field holds several parts, a
`pattern` with named groups cuts it, and the groups are fields too.

The ready-made mappings fit the files that the published harnesses read (HumanEval, MBPP, GSM8K,
TruthfulQA and MMLU-Redux as their authors ship them; the multiple-choice ones with `query`,
`choices` and `gold`, as in mosaicml/llm-foundry).
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.config import Section

MappingName = Literal[
    "humaneval", "mbpp", "gsm8k", "arc", "hellaswag", "mmlu", "piqa", "siqa", "boolq", "copa",
    "csqa", "obqa", "truthfulqa", "winogrande",
]  # fmt: skip
_LETTERED = re.compile(r"^\s*[A-Z][.)]\s+", re.MULTILINE)


class ItemFields(Section):
    """Which fields make an item; at least one of alone, question and code."""

    id: str | None = Field(None, description="The field that names an item; null: its row number.")
    alone: tuple[str, ...] = Field((), description="Texts that are each searched for alone.")
    question: str | None = Field(
        None, description="The question; a short one counts only with its answer or its choices."
    )
    answer: str | None = Field(None, description="The answer's text, or a list of answers.")
    choices: str | None = Field(None, description="The list of choices.")
    gold: str | None = Field(None, description="The number of the right choice, from 0.")
    alone_code: tuple[str, ...] = Field(
        (), description="As `alone`, for program text, of which longer runs are common."
    )
    code: str | None = Field(None, description="Program text, searched for by structure too.")
    pattern: str | None = Field(
        None, description="A regular expression over `cut_field`; its named groups are fields."
    )
    cut_field: str = Field("query", description="The field that `pattern` cuts.")
    without: str | None = Field(
        None, description="What a copy may lack (a regular expression): both forms are searched."
    )

    @property
    def names(self) -> list[str]:
        """The fields of a row that are asked for."""
        joined = (*self.alone, *self.alone_code, self.question, self.answer, self.choices,
                  self.code, self.id, self.gold)  # fmt: skip
        return list(dict.fromkeys(name for part in joined if part for name in part.split("+")))

    @field_validator("pattern", "without")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression ({error})") from error
        return value


_QUERY = r"(?s)(?:Question:\s*)?(?P<question>.*)"
_LISTED = r"(?s)(?:Context:\s*(?P<context>.*?)\n)?Question:\s*(?P<question>.*?)\nChoices:\n(?P<listed>.*?)\nAnswer:"  # noqa: E501
_PASSAGE = r"(?s)Passage:\s*(?P<context>.*)\nQuestion:\s*(?P<question>.*)"
_MULTIPLE_CHOICE = ItemFields(question="question", choices="choices", gold="gold", pattern=_QUERY)

READY: dict[MappingName, ItemFields] = {
    "humaneval": ItemFields(
        id="task_id", alone=("prompt",), alone_code=("canonical_solution", "test"),
        code="prompt+canonical_solution"),
    "mbpp": ItemFields(
        id="task_id", question="text", answer="code", alone_code=("code", "test_list"),
        code="code"),
    "gsm8k": ItemFields(
        question="question", answer="answer", alone=("answer",), without=r"<<[^<>]*>>|####.*"),
    "arc": _MULTIPLE_CHOICE,
    "hellaswag": _MULTIPLE_CHOICE,
    "mmlu": ItemFields(question="question", choices="choices", gold="answer"),
    "piqa": _MULTIPLE_CHOICE,
    "siqa": ItemFields(
        alone=("context", "context+question"), question="question", choices="listed", gold="gold",
        pattern=_LISTED),
    "boolq": ItemFields(alone=("context",), question="question", pattern=_PASSAGE),
    "copa": _MULTIPLE_CHOICE,
    "csqa": ItemFields(question="question", choices="listed", gold="gold", pattern=_LISTED),
    "obqa": _MULTIPLE_CHOICE,
    "truthfulqa": ItemFields(question="Question", answer="Best Answer"),
    "winogrande": ItemFields(alone=("context_options+continuation",)),
}  # fmt: skip


def cut(row: dict[str, Any], fields: ItemFields) -> dict[str, Any]:
    """The row, with the named groups of the pattern as further fields."""
    if fields.pattern is None:
        return row
    found = re.match(fields.pattern, str(row.get(fields.cut_field) or ""))
    return row if found is None else {**row, **found.groupdict()}


def texts_of(row: dict[str, Any], part: str | None) -> list[str]:
    """The texts of a part: of one field, or of several joined by "+", lists fanned out."""
    if part is None:
        return []
    joined = [""]
    for name in part.split("+"):
        joined = [_join(head, tail) for head in joined for tail in as_list(row.get(name))]
    return [text for text in joined if text.strip()]


def _join(head: str, tail: str) -> str:
    return tail if not head else head + ("" if head[-1].isspace() else " ") + tail


def as_list(value: Any) -> list[str]:
    """Texts of a value: a list, a list that was written as JSON or Python, lettered lines, one."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [str(v) for v in value]
    text = str(value)
    if text.startswith("[") and text.endswith("]"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(found, list) and all(isinstance(v, str) for v in found):
                return found
    if len(_LETTERED.findall(text)) > 1:
        return [part.strip() for part in _LETTERED.split(text) if part.strip()]
    return [text]
