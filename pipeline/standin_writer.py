"""The stand-in teacher's writing: lessons and exercises by rules, from code that it has run.

Not an LLM. From an extract of code it teaches the function in it; from prose it selects sentences
that explain and terms that are defined. Where it finds nothing to teach it refuses, and says why.
The same prompt gives the same piece.
"""

from __future__ import annotations

import ast
import hashlib
import re
from typing import Any

from pipeline import curriculum_from_corpus, personas
from pipeline.parsing import read_literal
from pipeline.prompts import SCHEMAS, read_prompt
from pipeline.standin_book import plan_book, write_section
from pipeline.standin_curriculum import name_cluster, word_persona
from pipeline.standin_functions import Subject, study
from pipeline.standin_instruction import instruct
from pipeline.standin_lessons import Lesson
from pipeline.standin_reading import read_lesson
from pipeline.standin_rephrase import rephrase

OTHERS = {
    "book_outline": plan_book,
    "book_section": write_section,
    "rephrase": rephrase,
    "instruction": instruct,
    curriculum_from_corpus.SCHEMA_NAME: name_cluster,
    personas.SCHEMA_NAME: word_persona,
}


def write(schema_name: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """The content of one answer. Raises ValueError for a schema or prompt that it does not know."""
    prompt = messages[-1]["content"]
    if schema_name in OTHERS:
        return OTHERS[schema_name](prompt)
    if schema_name not in SCHEMAS:
        raise ValueError(f"the stand-in does not write {schema_name!r}")
    choices, extract = read_prompt(prompt)
    seed = list(hashlib.sha256(prompt.encode()).digest()[:16])
    if re.search(r"^\s*def \w", extract, re.M):
        subject = study(extract)
        if isinstance(subject, str):
            return _refuse(schema_name, subject)
        if schema_name == "exercise":
            return _exercise(subject)
        lesson = Lesson(subject, dict(choices), seed)
        return {"title": lesson.title(), "text": lesson.text(), "refusal": None}
    if schema_name == "exercise":
        return _refuse(schema_name, "the extract has no function to write")
    read = read_lesson(extract, choices)
    return read or _refuse(schema_name, "the extract explains too little in whole sentences")


def _refuse(schema_name: str, reason: str) -> dict[str, Any]:
    fields = dict.fromkeys(SCHEMAS[schema_name]["properties"], "")
    return {**fields, "refusal": reason}


def _exercise(subject: Subject) -> dict[str, Any]:
    """Complete the body of a real function; its real results are the tests."""
    shown = [s for s in subject.worked if _is_literal(s.shown)]
    if len(shown) < 2:
        return _refuse("exercise", f"results of {subject.name} cannot be written as literals")
    node = subject.node
    purpose = " ".join(subject.documentation.split()) or (
        f"Work out the value of {subject.name.strip('_').replace('_', ' ')}."
    )
    examples = "\n".join(f"    >>> {s.call}\n    {_literal(s.shown)}" for s in shown[:2])
    imports = subject.source.partition("def ")[0].strip()
    signature = f"def {node.name}({ast.unparse(node.args)}):"
    prompt = f'{signature}\n    """{_quoted(purpose)}\n\n{examples}\n    """\n'
    body = node.body[1:] if ast.get_docstring(node) else node.body
    lines = "\n".join("    " + ln for stmt in body for ln in ast.unparse(stmt).splitlines())
    tests = "\n".join(f"assert str({s.call}) == {s.shown!r}" for s in subject.worked)
    head = imports + "\n\n\n" if imports else ""
    return {
        "prompt": head + prompt,
        "solution": head + prompt + lines + "\n",
        "tests": tests + "\n",
        "refusal": None,
    }


def _is_literal(shown: str) -> bool:
    return len(_literal(shown)) <= 120


def _literal(shown: str) -> str:
    """What an interactive session would show for a value that prints as `shown`."""
    try:
        return repr(read_literal(shown))
    except (ValueError, SyntaxError):
        return repr(shown)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")[:900]
