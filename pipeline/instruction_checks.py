"""Whether the answer of an instruction pair is right, as far as running and parsing can tell."""

from __future__ import annotations

import ast
import re
from typing import Any

from pipeline.judge_piece import Judged, judge_lesson, without_body
from pipeline.parsing import parse
from pipeline.proven_tests import UNPARSABLE, prove
from pipeline.sandbox import Sandbox

_CODE = re.compile(r"^```python\n(.*?)^```[ \t]*$", re.M | re.S)
_WORD = re.compile(r"\w+")
_GRAM_WORDS = 4


def restated_share(question: str, answer: str) -> float:
    """The share of the answer's word 4-grams, outside of code, that stand in the question."""
    asked, said = set(_grams(_CODE.sub("", question))), _grams(_CODE.sub("", answer))
    return sum(gram in asked for gram in said) / max(1, len(said))


def _grams(text: str) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return [tuple(words[i : i + _GRAM_WORDS]) for i in range(len(words) - _GRAM_WORDS + 1)]


def check_answer(kind: str, content: dict[str, Any], material: str, sandbox: Sandbox) -> Judged:
    """The verdict on one exchange of a kind of `pipeline.instruction`."""
    answer = content["assistant"]
    if not content["user"].strip():
        return Judged("no_question", answer[:200], 0)
    if kind in {"question", "summarise"}:
        return _judge_prose(answer, material)
    if kind == "explain":
        return _judge_explanation(answer, sandbox)
    return _judge_code(kind, content, material, sandbox)


def _judge_code(kind: str, content: dict[str, Any], material: str, sandbox: Sandbox) -> Judged:
    """Of the kinds whose answer is one block of code."""
    blocks = _CODE.findall(content["assistant"])
    if len(blocks) != 1:
        return Judged("not_one_code_block", f"{len(blocks)} blocks", 0)
    if kind == "document":
        return _judge_documentation(blocks[0], material, sandbox)
    if kind == "test":
        return _judge_pass_and_fail(material, without_body(material), blocks[0], sandbox)
    return _judge_pass_and_fail(blocks[0], content["given"], content["check"], sandbox)


def _judge_prose(answer: str, passage: str) -> Judged:
    flat = " ".join(answer.split())
    if flat in " ".join(passage.split()) and len(flat) > len(passage) / 2:
        return Judged("copy_of_source", flat[:200], 0)
    if len(answer) > len(passage):
        return Judged("padded", f"{len(answer)} characters on {len(passage)}", 0)
    return Judged(None, "", 0)


def _judge_explanation(answer: str, sandbox: Sandbox) -> Judged:
    judged = judge_lesson({"title": "", "text": answer}, sandbox)
    if judged.reason is None and judged.blocks == 0:
        return Judged("nothing_shown", answer[:200], 0)
    return judged


def _judge_pass_and_fail(good: str, bad: str | None, checks: str, sandbox: Sandbox) -> Judged:
    """The assertions pass with the good code and fail with the bad, which must at least parse."""
    if "assert" not in checks:
        return Judged("no_tests", f"no assertion in {checks[:180]!r}", 0)
    if bad is None or not _parses(bad):
        return Judged("given_does_not_parse", repr(bad)[:200], 0)
    return _prove(good, bad, checks, sandbox)


def _prove(good: str, bad: str, checks: str, sandbox: Sandbox) -> Judged:
    try:
        proven, turned = prove(checks), prove(checks, turned=True)
    except UNPARSABLE:
        return Judged("code_failed", "its assertions do not parse", 0)
    tested = proven.run(good, sandbox)
    if not tested.done.ok:
        return Judged("code_failed", _last_line(tested.done.stderr), 1)
    if not tested.passed:
        return Judged("tests_end_early", checks[:200], 1)
    if proven.run(bad, sandbox).ok:
        return Judged("tests_prove_nothing", checks[:200], 2)
    if turned.run(good, sandbox).ok:
        return Judged("tests_cannot_fail", checks[:200], 3)
    return Judged(None, "", 3)


def _judge_documentation(code: str, material: str, sandbox: Sandbox) -> Judged:
    """The same statements, and every function documented; it still runs."""
    written, given = _documentation(code), _documentation(material)
    if written is None or given is None:
        return Judged("code_failed", "it does not parse", 0)
    if written[0] != given[0]:
        return Judged("code_changed", code[:200], 0)
    if not all(written[1]) or written[1] == given[1]:
        return Judged("not_documented", code[:200], 0)
    done = sandbox.run(code)
    return Judged(None, "", 1) if done.ok else Judged("code_failed", _last_line(done.stderr), 1)


def _documentation(code: str) -> tuple[str, list[str]] | None:
    """The code without the docstrings of its outer functions, and those docstrings."""
    try:
        tree = parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            text = ast.get_docstring(node)
            found.append(text or "")
            node.body = node.body[1:] if text is not None else node.body
    return ast.dump(tree), found


def _parses(code: str) -> bool:
    try:
        return bool(parse(code).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
