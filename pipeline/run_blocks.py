"""Execute the blocks of a piece in the sandbox, and compare what it shows with what they print.

Every block of Python runs by itself, in order; one that fails because a name is not defined runs
again after the blocks before it, as a reader of a chapter would. A session (`>>> `) runs as a
doctest. An output may also show what the last expression is worth, as notebooks do. Where an output
differs from what is shown, the block runs a second time, to tell a wrong output from one that no
run repeats; both are rejected. Data is parsed, other languages are counted.

What it costs: one run of the sandbox a block, one more where comments claim outputs, where a name
is missing, or where an output differs.
"""

from __future__ import annotations

import doctest
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.code_blocks import Block, read_blocks
from pipeline.judged import Judged
from pipeline.sandbox import Execution, Sandbox
from pipeline.stated_outputs import (
    ADDRESS,
    agrees,
    echo_last_value,
    find_wrong_claim,
    mark_claims,
    stated_below,
    without_addresses,
)

_SEAM = "\x1e\x1e\x1e"
_TRACE = re.compile(r"Traceback \(most recent call last\):\n.*?\n {4}(?=\S)", re.S)
_SESSION = """
import doctest, re
class Alike(doctest.OutputChecker):
    def check_output(self, want, got, flags):
        lines = ("".join(line.rstrip() + "\\n" for line in t.splitlines()) for t in (want, got))
        return super().check_output(*lines, flags)
names = {{"__name__": "__main__"}}
exec(compile({before!r}, "<before>", "exec"), names)
print({seam!r})
test = doctest.DocTestParser().get_doctest({session!r}, names, "session", None, 0)
for step in test.examples:
    step.options.pop(doctest.SKIP, None)
    step.want = re.sub({address!r}, "0x...", step.want)
runner = doctest.DocTestRunner(Alike(), verbose=False, optionflags=doctest.ELLIPSIS)
runner.run(test)
print({seam!r})
raise SystemExit(bool(runner.failures))
"""


@dataclass
class _Tally:
    """What was done so far, and the code that later blocks may build on."""

    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("blocks", "checked", "parsed", "not_executed"), 0)
    )
    before: list[str] = field(default_factory=list)

    def verdict(self, reason: str | None, evidence: str = "") -> Judged:
        return Judged(reason, evidence[:300], **self.counts)


def run_blocks(text: str, sandbox: Sandbox, keep_unexecuted: bool = True) -> Judged:
    """Execute or parse every block of a text; rejected at the first that is wrong.

    `keep_unexecuted`: whether blocks in languages that are not executed are let pass.
    """
    judged = Judged(None, "", 0)
    for _, judged in judge_blocks(text, sandbox, keep_unexecuted):
        if judged.reason:
            break
    return judged


def judge_blocks(
    text: str, sandbox: Sandbox, keep_unexecuted: bool = True
) -> Iterator[tuple[Block, Judged]]:
    """Each block in turn, with what is wrong with it and the counts so far."""
    blocks = read_blocks(text)
    tally = _Tally()
    for i, block in enumerate(blocks):
        wrong: tuple[str, str] | None = None
        if block.kind == "python":
            output = (
                blocks[i + 1].code
                if [b.kind for b in blocks[i + 1 : i + 2]] == ["output"]
                else None
            )
            wrong = _run_python(block, output, text, sandbox, tally)
        elif block.kind == "session":
            wrong = _run_session(block, sandbox, tally)
        elif block.kind == "data":
            tally.counts["parsed"] += 1
            wrong = _parse(block)
        elif block.kind == "other":
            tally.counts["not_executed"] += 1
            if not keep_unexecuted:
                wrong = "block_not_executed", f"in {block.language or 'no stated language'}"
        yield block, tally.verdict(*(wrong or (None,)))


def _run_python(
    block: Block, output: str | None, text: str, sandbox: Sandbox, tally: _Tally
) -> tuple[str, str] | None:
    tally.counts["blocks"] += 1
    before = ""
    done = sandbox.run(block.code)
    if _misses_a_name(done) and tally.before:
        before = "\n".join(tally.before)
        done = _run_after(before, block.code, sandbox)
    if not done.ok:
        if output is not None and _shows_the_error(output, done):
            tally.counts["checked"] += 1
            return None
        return _failure(done, "after the blocks before it" if before else "")
    tally.before.append(block.code)
    stated = stated_below(text, block.end) if output is None else None
    wrong = _compare(output, stated, done, tally)
    if wrong and output is not None:
        shown = _run_after(before, echo_last_value(block.code), sandbox).stdout
        wrong = None if _lines(output) == _lines(shown) else wrong
    if wrong:
        again = _run_after(before, block.code, sandbox)
        repeats = again.stdout == done.stdout
        return "output_differs" if repeats else "output_not_repeatable", wrong
    return _check_comments(block.code, before, sandbox, tally)


def _compare(output: str | None, stated: str | None, done: Execution, tally: _Tally) -> str | None:
    """What was printed, where it is not what is shown below the block."""
    printed = done.stdout.strip()
    if output is not None:
        tally.counts["checked"] += 1
        if _lines(output) != _lines(printed):
            return f"printed {printed[:200]!r}"
    elif stated is not None:
        tally.counts["checked"] += 1
        candidates = [printed, *printed.splitlines()]
        if not any(agrees(stated, one) for one in candidates):
            return f"said to print {stated!r}, printed {printed[:200]!r}"
    return None


def _lines(output: str) -> list[str]:
    return [line.rstrip() for line in without_addresses(output).strip().splitlines()]


def _check_comments(
    code: str, before: str, sandbox: Sandbox, tally: _Tally
) -> tuple[str, str] | None:
    marked, claims = mark_claims(code)
    if not claims:
        return None
    compared, wrong = find_wrong_claim(claims, _run_after(before, marked, sandbox).stdout)
    tally.counts["checked"] += compared
    if wrong is None:
        return None
    return "comment_differs", f"line {wrong.line} is said to be {wrong.expected!r}"


def _run_session(block: Block, sandbox: Sandbox, tally: _Tally) -> tuple[str, str] | None:
    tally.counts["blocks"] += 1
    for before in dict.fromkeys(("", "\n".join(tally.before))):
        code = _SESSION.format(before=before, session=block.code, seam=_SEAM, address=ADDRESS)
        done = _after_seam(sandbox.run(code))
        shown, ended, _ = done.stdout.rpartition(_SEAM + "\n")
        if done.ok and not ended:
            return "code_failed", "the session ends the program before its last line"
        if done.ok:
            steps = doctest.DocTestParser().get_examples(block.code)
            tally.counts["checked"] += len(steps)
            tally.before.append("".join(step.source for step in steps if step.exc_msg is None))
            return None
        if "NameError: name" not in shown:
            break
    if done.exit_code == 1 and ended:
        return "output_differs", " ".join(_TRACE.sub("", shown).split()).strip("* ")
    return _failure(done, "")


def _run_after(before: str, code: str, sandbox: Sandbox) -> Execution:
    """Run code after other code, and tell only what the later one printed."""
    if not before:
        return sandbox.run(code)
    return _after_seam(sandbox.run(f"{before}\nprint({_SEAM!r})\n{code}"))


def _after_seam(done: Execution) -> Execution:
    """What came after the seam; without one, the code was never reached."""
    _, seam, shown = done.stdout.partition(_SEAM + "\n")
    if done.ok and not seam:
        return Execution(1, "", "the code before it ends the program", None)
    return Execution(done.exit_code, shown, done.stderr, done.stopped_by)


def _misses_a_name(done: Execution) -> bool:
    return done.exit_code == 1 and done.problem.startswith(("NameError: name", "UnboundLocalError"))


def _shows_the_error(output: str, done: Execution) -> bool:
    """Whether a block is meant to fail: the error that ends it is shown below it."""
    shown = output.strip().splitlines()
    return done.exit_code == 1 and bool(shown) and shown[-1].strip() == done.problem.strip()


def _failure(done: Execution, how: str) -> tuple[str, str]:
    absent = done.problem.startswith(("ModuleNotFoundError", "ImportError"))
    reason = "module_absent" if absent else "code_failed"
    return reason, f"{done.problem} {how}".strip()


def _parse(block: Block) -> tuple[str, str] | None:
    try:
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "toml":
            tomllib.loads(block.code)
        else:
            _parse_yaml(block.code)
    except (ValueError, RecursionError) as error:
        return "data_does_not_parse", f"{block.language}: {' '.join(str(error).split())}"
    return None


def _parse_yaml(text: str) -> Any:
    """Read to nodes and no further: nothing is built, so that no tag can build anything."""
    import yaml

    try:
        return list(yaml.compose_all(text, yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
