"""What the tests of single tasks share: extracts of the standard library, and real answers."""

import json
import sysconfig
from pathlib import Path

from conftest import document
from pipeline.extracts import Extract, extract_all
from pipeline.question import Answer, Question, read_answer
from pipeline.standin_server import answer

LIBRARY = Path(sysconfig.get_path("stdlib"))


def functions_of(*paths: str) -> list[Extract]:
    """The functions of modules of the standard library that stand by themselves."""
    rows = [document((LIBRARY / path).read_text(), path, group=path, licence="PSF-2.0")
            for path in paths]  # fmt: skip
    return [extract for row in rows for extract in extract_all(row, 4_000)]


def page(text: str, **fields: str) -> Extract:
    """A page of prose."""
    return Extract("page", "web", "pages", fields.get("licence", "CC-BY-4.0"), "a page", text)


def ask(question: Question) -> Answer:
    """The stand-in's answer, read as the teacher's client reads it."""
    return read(question, answer(question.schema_name, list(question.messages)))


def read(question: Question, content: dict) -> Answer:
    """An answer with this content, checked against the question's schema."""
    stored = {"content": json.dumps(content), "refusal": None, "finish_reason": "stop",
              "prompt_tokens": 1, "completion_tokens": 1, "reasoning_tokens": 0,
              "batched": False}  # fmt: skip
    return read_answer(question, stored)
