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

from pipeline.parsing import read_literal
from pipeline.prompts import SCHEMAS, read_prompt
from pipeline.standin_functions import Subject, study
from pipeline.standin_lessons import Lesson

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_TELLING = re.compile(
    r"\b(because|therefore|so that|if|when|instead|means|is an?|are|allows?|returns?|used)\b", re.I
)
_DEFINED = re.compile(
    r"^(?:The |An? )?([A-Za-z][\w` -]{2,30}?) (?:is|are) (?:an? |the |used )\w.{15,}$"
)
_NO_TERM = re.compile(
    r"\b(this|that|these|those|it|they|there|here|which|when|if|one|each|all|some|any|many|much|"
    r"you|we|he|she|what|who|other|another|same|following|above|below|result|first|second)\b",
    re.I,
)


def write(schema_name: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """The content of one answer. Raises ValueError for a schema or prompt that it does not know."""
    if schema_name not in SCHEMAS:
        raise ValueError(f"the stand-in does not write {schema_name!r}")
    prompt = messages[-1]["content"]
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
    return _reading(extract, dict(choices))


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


def _reading(extract: str, choices: dict[str, str]) -> dict[str, Any]:
    """A lesson from prose: the sentences that explain, the terms defined, questions on them."""
    flat = [" ".join(p.split()) for p in extract.split("\n\n") if not p.startswith((" ", ">", "|"))]
    sentences = [s for p in flat for s in _SENTENCE.split(p) if 8 <= len(s.split()) <= 40]
    sentences = [s for s in sentences if s[-1] in ".!?" and s[0].isupper() and "::" not in s]
    telling = [s for s in sentences if _TELLING.search(s)]
    defined = [
        (m[1].strip(), s)
        for s in sentences
        if (m := _DEFINED.match(s)) and not _NO_TERM.search(m[1]) and len(m[1].split()) <= 4
    ]
    if len(telling) < 3 or not defined:
        return _refuse("lesson", "the extract explains too little in whole sentences")
    topic = choices["topic"].strip()
    verb, noun, adjective = choices["words"].split(", ")
    frame = (
        f"Picture a {adjective} {noun} where people {verb} all day: even there it pays to know "
        "what the words of the trade mean. "
        if choices["style"] == "story"
        else ""
    )
    asked = [
        f'{i}. Complete: "{s.replace(term, "_____", 1)}" (Answer: {term}.)'
        for i, (term, s) in enumerate(defined[:4], 1)
    ]
    blocks = [
        f"# {topic}",
        frame
        + f"This piece is about {topic}. "
        + " ".join(telling[: 4 + len(choices["words"]) % 3]),
        "Terms to keep:",
        "\n".join(f"- **{term}**: {s}" for term, s in defined[:5]),
        "Check yourself:",
        "\n".join(asked),
    ]
    return {"title": topic[:200], "text": "\n\n".join(blocks) + "\n", "refusal": None}
