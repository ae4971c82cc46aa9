"""Whether a written piece is accepted: whole, not repeating itself, and its code does what it says.

Every fenced Python block is executed in the sandbox by itself; a text block that follows it must be
what it printed. An exercise's tests must pass with the solution and fail with its body removed
(phi-1, arXiv 2306.11644, section 2.3).
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import Any, NamedTuple

from pipeline.parsing import parse
from pipeline.sandbox import Sandbox

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```[ \t]*$", re.M | re.S)
_LEAKED = re.compile(r"</?document [0-9a-f]{16}>|as an ai\b|\bI (cannot|can't) help\b", re.I)
_MIN_CHARS = 300
_MAX_REPEATED_LINES = 0.4  # outside of code


class Judged(NamedTuple):
    """A verdict: `reason` is None for an accepted piece; `blocks` is how much code was executed."""

    reason: str | None
    evidence: str
    blocks: int


def judge_lesson(content: dict[str, Any], sandbox: Sandbox) -> Judged:
    """Judge a lesson's title and text."""
    text = content["text"]
    reason = _flaw_of(text)
    if reason:
        return Judged(*reason, 0)
    blocks = [(m[1], m[2], m.end()) for m in _BLOCK.finditer(text)]
    executed = 0
    for i, (language, code, end) in enumerate(blocks):
        if language != "python":
            continue
        done = sandbox.run(code)
        executed += 1
        if not done.ok:
            return Judged("code_failed", _last_line(done.stderr), executed)
        follows = i + 1 < len(blocks) and blocks[i + 1][0] == "text"
        stated = blocks[i + 1][1] if follows and not text[end : end + 8].strip("`tex\n ") else None
        if stated is not None and stated.strip() != done.stdout.strip():
            return Judged("output_differs", f"printed {done.stdout.strip()[:200]!r}", executed)
    return Judged(None, "", executed)


def judge_exercise(content: dict[str, Any], sandbox: Sandbox) -> Judged:
    """Judge an exercise's solution and tests, each way."""
    solution, tests = content["solution"], content["tests"]
    if "assert" not in tests:
        return Judged("no_tests", tests[:200], 0)
    done = sandbox.run(f"{solution}\n{tests}")
    if not done.ok:
        return Judged("tests_fail_with_solution", _last_line(done.stderr), 1)
    hollow = without_body(solution)
    if hollow is None:
        return Judged("no_function", solution[:200], 1)
    if sandbox.run(f"{hollow}\n{tests}").ok:
        return Judged("tests_pass_without_body", tests[:200], 2)
    return Judged(None, "", 2)


def without_body(solution: str) -> str | None:
    """The solution with the last function's body replaced by `pass`; None without a function."""
    try:
        tree = parse(solution)
        functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
        if not functions:
            return None
        functions[-1].body = [ast.Pass()]
        return ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _flaw_of(text: str) -> tuple[str, str] | None:
    """What is wrong with a text before any of its code is run."""
    leaked = _LEAKED.search(text)
    prose = [ln.strip() for ln in _BLOCK.sub("", text).splitlines() if ln.strip()]
    repeated = sum(n for n in Counter(prose).values() if n > 1) / max(1, len(prose))
    flaws = [
        (len(text) < _MIN_CHARS, "too_short", f"{len(text)} characters"),
        (leaked is not None, "leaked_prompt_or_refusal", leaked[0] if leaked else ""),
        (text.count("```") % 2 == 1, "truncated", text[-80:]),
        (repeated > _MAX_REPEATED_LINES, "repeats_itself", f"{repeated:.2f} of its lines"),
    ]
    return next(((reason, evidence) for flawed, reason, evidence in flaws if flawed), None)


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
