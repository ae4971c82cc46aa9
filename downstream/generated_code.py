"""HumanEval and MBPP: programs that a model wrote, run against their tests in the sandbox.

pass@k is the unbiased estimate of the chance that one of k programs passes, from n drawn and c that
passed: 1 - C(n-c, k) / C(n, k) (Chen et al., arXiv 2107.03374). lm-eval would load its metric from
the hub and run the code beside our files; here each program runs in `pipeline.sandbox`. A program
that ends early with exit code 0 has passed nothing: it passes by printing, after its last test, a
word that was drawn for this run.

What it costs: one run of the sandbox a program, some hundredths of a second, or its time limit.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import comb
from typing import Any

from pipeline.sandbox import Sandbox, SandboxConfig

_USUAL_K = (1, 10, 100)
Row = dict[str, Any]


class CodeLimits(SandboxConfig):
    """How much a program that the model wrote may take."""


def pass_at_k(drawn: int, passed: int, k: int) -> float:
    """The chance that at least one of `k` programs passes, `passed` of `drawn` having done so."""
    return 1 - comb(drawn - passed, k) / comb(drawn, k)


def usual_ks(drawn: int) -> list[int]:
    """The k that are reported for so many programs a problem."""
    return sorted({k for k in _USUAL_K if k <= drawn} | {drawn})


def humaneval_program(row: Row, answer: str) -> str:
    """The signature, what the model wrote below it, the tests, and the call of them."""
    return f"{row['prompt']}{answer}\n{row['test']}\ncheck({row['entry_point']})"


def mbpp_program(row: Row, answer: str) -> str:
    """What the model wrote, then the statements and assertions of the problem."""
    return "\n".join([answer, row.get("test_setup_code") or "", *row["test_list"]])


class ProgramJudge:
    """What lm-eval calls for each problem with all the programs that were drawn for it."""

    def __init__(self, program: Callable[[Row, str], str], sandbox: Sandbox, workers: int) -> None:
        self.program, self.sandbox, self.workers = program, sandbox, workers
        self.problems: dict[int, list[str | None]] = {}  # item -> why each program failed

    def __call__(self, row: Row, results: Sequence[Sequence[str]]) -> dict[str, float]:
        """pass@k of one problem, for the usual k."""
        answers = results[0]
        with ThreadPoolExecutor(self.workers) as pool:
            problems = list(pool.map(lambda one: self.problem_of(row, one), answers))
        self.problems[row["item"]] = problems
        n, passed = len(problems), problems.count(None)
        return {f"pass@{k}": pass_at_k(n, passed, k) for k in usual_ks(n)}

    def problem_of(self, row: Row, answer: str) -> str | None:
        """Why a program does not pass, in a line; None if it does."""
        word = secrets.token_hex(8)
        done = self.sandbox.run(f"{self.program(row, answer)}\nprint({word!r})")
        if not done.ok:
            return done.problem
        passed = done.stdout.rstrip().endswith(word)
        return None if passed else "ended before its last test"


@contextmanager
def opened_judge(
    program: Callable[[Row, str], str] | None, limits: CodeLimits, workers: int
) -> Iterator[ProgramJudge | None]:
    """A judge with a sandbox for the block that follows; None where there is nothing to run."""
    if program is None:
        yield None
        return
    sandbox = Sandbox("evaluate", limits)
    try:
        yield ProgramJudge(program, sandbox, workers)
    finally:
        sandbox.close()
