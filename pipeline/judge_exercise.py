"""Whether an exercise is one (phi-1, arXiv 2306.11644, section 2.3): to complete, solved, tested.

`prompt` is a signature with a docstring, `solution` the same function with a body, `tests` call it.
The tests must pass with the solution and fail without its body, twice over: with `pass`, and with
the first argument handed back; and they must fail because of what the function does, not because a
name is missing. That they passed is proven (`proven_tests`): they came to their end, enough of
their assertions ran, and turned around they fail. A plain or asynchronous function is a subject; a
class or a method is not, because a signature says too little of it.

Reasons: prompt_is_no_signature, prompt_without_docstring, prompt_gives_solution, no_function,
solution_is_another, solution_looks_around, tests_do_not_parse, tests_redefine_it, too_few_tests,
tests_do_not_call_it, tests_fail_with_solution, tests_end_early, too_few_tests_run,
solution_cannot_be_emptied, tests_pass_without_body, tests_fail_for_another_reason,
tests_cannot_fail.

What it costs: four runs of the sandbox for an accepted exercise.
"""

from __future__ import annotations

import ast
from typing import Any

from pipeline.judged import Judged
from pipeline.parsing import parse
from pipeline.proven_tests import UNPARSABLE, ProvenTests, Tested, find_look_around, prove
from pipeline.sandbox import Execution, Sandbox

Function = ast.FunctionDef | ast.AsyncFunctionDef

_MIN_ASSERTS = 2
_EMPTY_BODIES = ("pass", "return the first argument")
_WRONG_ERRORS = ("NameError", "SyntaxError", "IndentationError", "ImportError",
                 "ModuleNotFoundError", "UnboundLocalError")  # fmt: skip


def judge_exercise(
    content: dict[str, Any], sandbox: Sandbox, min_asserts: int = _MIN_ASSERTS
) -> Judged:
    """Judge an exercise's prompt, solution and tests."""
    prompt, solution, tests = content["prompt"], content["solution"], content["tests"]
    flaw = _flaw_of_subject(prompt, solution) or _flaw_of_tests(prompt, tests, min_asserts)
    if flaw:
        return Judged(*flaw, 0)
    proven = prove(tests)
    flaw = _flaw_of_run(proven.run(solution, sandbox), min_asserts)
    if flaw:
        return Judged(*flaw, 1)
    flaw, runs = _flaw_without_body(proven, solution, _subject(prompt).name, sandbox)
    if flaw is None:
        runs += 1
        if prove(tests, turned=True).run(solution, sandbox).done.ok:
            flaw = "tests_cannot_fail", "they pass with every assertion turned around"
    reason, evidence = flaw or (None, "")
    return Judged(reason, evidence, 1 + runs)


def without_body(solution: str) -> str | None:
    """The solution with the last function's body replaced by `pass`; None without a function."""
    last = _last_function(solution)
    return _hollow(solution, last.name, "pass") if last else None


def _flaw_of_subject(prompt: str, solution: str) -> tuple[str, str] | None:
    """What keeps the prompt from asking for this solution."""
    asked = _last_function(prompt)
    if asked is None:
        return "prompt_is_no_signature", prompt[:200]
    if not ast.get_docstring(asked):
        return "prompt_without_docstring", ast.unparse(asked.args)[:200]
    if any(not _says_nothing(statement) for statement in asked.body[1:]):
        return "prompt_gives_solution", ast.unparse(asked.body[1])[:200]
    answer = _last_function(solution, asked.name)
    if answer is None:
        return "no_function", f"no {asked.name} that parses in {solution[:150]!r}"
    if type(answer) is not type(asked) or ast.dump(answer.args) != ast.dump(asked.args):
        return "solution_is_another", f"{_signature(answer)}, asked was {_signature(asked)}"
    looked = find_look_around(solution)
    return ("solution_looks_around", f"by {looked}") if looked else None


def _flaw_of_tests(prompt: str, tests: str, min_asserts: int) -> tuple[str, str] | None:
    """What keeps the tests from testing the function."""
    name = _subject(prompt).name
    try:
        nodes = list(ast.walk(parse(tests)))
        prove(tests, turned=True)
    except UNPARSABLE as error:
        return "tests_do_not_parse", str(error)[:200]
    asserts = sum(isinstance(node, ast.Assert) for node in nodes)
    if asserts < min_asserts:
        return "too_few_tests", f"{asserts} asserts, {min_asserts} are asked for"
    if any(isinstance(node, Function | ast.ClassDef) and node.name == name for node in nodes):
        return "tests_redefine_it", name
    called = (n.func for n in nodes if isinstance(n, ast.Call))
    if not any(isinstance(func, ast.Name) and func.id == name for func in called):
        return "tests_do_not_call_it", f"no call of {name} in {tests[:150]!r}"
    return None


def _flaw_of_run(tested: Tested, min_asserts: int) -> tuple[str, str] | None:
    """What keeps a run with the solution from having passed the tests."""
    if not tested.done.ok:
        return "tests_fail_with_solution", tested.done.problem
    if tested.passed is None:
        return "tests_end_early", "exit code 0 before their last line"
    if tested.passed < min_asserts:
        return "too_few_tests_run", f"{tested.passed} asserts, {min_asserts} are asked for"
    return None


def _flaw_without_body(
    proven: ProvenTests, solution: str, name: str, sandbox: Sandbox
) -> tuple[tuple[str, str] | None, int]:
    """What keeps the tests from failing as they should without a body, and the runs it took."""
    runs = 0
    for way in _EMPTY_BODIES:
        hollow = _hollow(solution, name, way)
        if hollow is None and way == "pass":
            return ("solution_cannot_be_emptied", solution[:200]), runs
        if hollow is None:
            continue
        done = proven.run(hollow, sandbox).done
        runs += 1
        if done.ok:
            return ("tests_pass_without_body", f"with a body of: {way}"), runs
        if _fails_for_another_reason(done):
            return ("tests_fail_for_another_reason", done.problem), runs
    return None, runs


def _last_function(code: str, name: str | None = None) -> Function | None:
    """The last function of this name, or of any."""
    try:
        found = [node for node in parse(code).body if isinstance(node, Function)]
    except UNPARSABLE:
        return None
    return next((node for node in reversed(found) if name in (None, node.name)), None)


def _subject(prompt: str) -> Function:
    subject = _last_function(prompt)
    assert subject is not None  # `_flaw_of_subject` has seen it
    return subject


def _says_nothing(statement: ast.stmt) -> bool:
    """`pass`, `...`, or the raise of an error that says that nothing is here yet."""
    if isinstance(statement, ast.Raise):
        return "NotImplemented" in ast.unparse(statement)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _signature(function: Function) -> str:
    begin = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    return f"{begin} {function.name}({ast.unparse(function.args)})"


def _hollow(solution: str, name: str, way: str) -> str | None:
    """The solution with the body of a function replaced; None where this way has no meaning."""
    try:
        tree = parse(solution)
        function = next(
            n for n in reversed(tree.body) if isinstance(n, Function) and n.name == name
        )
        body: ast.stmt = ast.Pass()
        if way != "pass":
            arguments = [*function.args.posonlyargs, *function.args.args]
            if not arguments:
                return None
            body = ast.Return(ast.Name(arguments[0].arg, ast.Load()))
        function.body = [body]
        return ast.unparse(ast.fix_missing_locations(tree))
    except UNPARSABLE:
        return None


def _fails_for_another_reason(done: Execution) -> bool:
    error = done.problem.partition(":")[0]
    return done.stopped_by is not None or error in _WRONG_ERRORS
