"""What is accepted and what is not, and why: real code in the real sandbox."""

import pytest

from pipeline.errors import StageError
from pipeline.judge_piece import judge_exercise, judge_lesson, without_body
from pipeline.rubrics import enclose
from pipeline.sandbox import Sandbox, SandboxConfig

PROSE = (
    "To double a number is to add it to itself. The function below does so with one operator, "
    "and because every number knows how to be multiplied, it works for whole numbers and for "
    "fractions alike. Read it first, then say what the call will print "
    "before you look; only then run it, and compare what you see with what you said.\n\n"
)
DOUBLE = "def double(x):\n    return 2 * x\n\nprint(double(21))\nprint('done')\n"
SOLUTION = (
    'def double(x):\n    """Twice x.\n\n    >>> double(2)\n    4\n    """\n    return 2 * x\n'
)
TESTS = "assert double(2) == 4\nassert double(-1.5) == -3\n"


@pytest.fixture(scope="module")
def sandbox():
    try:
        return Sandbox("test", SandboxConfig(cpu_seconds=1, wall_seconds=3))
    except StageError as error:
        pytest.skip(f"code cannot be judged here: {error}")


def python(code):
    return f"```python\n{code}```\n"


def shown(output):
    return f"```text\n{output}```\n"


def lesson(*parts):
    return {"title": "Doubling", "text": "# Doubling\n\n" + PROSE + "\n".join(parts)}


@pytest.mark.parametrize(
    ("parts", "blocks"),
    [
        ([python(DOUBLE), shown("42\ndone\n")], 1),
        ([python(DOUBLE), "So it prints:\n", shown("something else, for prose came between\n")], 1),
        ([python("x = 1\n"), python(DOUBLE), shown("42\ndone\n"), "The end.\n"], 2),
        (["```\nnot said to be Python: 1 +\n```\n", python("assert True\n")], 1),
        (["Prose alone may do."], 0),
    ],
)
def test_a_good_lesson_is_accepted_and_its_code_was_executed(sandbox, parts, blocks):
    assert judge_lesson(lesson(*parts), sandbox) == (None, "", blocks)


@pytest.mark.parametrize(
    ("parts", "reason", "evidence"),
    [
        ([python("print(dubble(2))\n")], "code_failed", "NameError: name 'dubble'"),
        ([python(DOUBLE), python("double(1)\n")], "code_failed", "NameError"),  # each by itself
        ([python("while True: pass\n")], "code_failed", "Killed"),
        ([python("import socket\nsocket.create_connection(('1.1.1.1', 53))\n")],
         "code_failed", "Network is unreachable"),
        ([python("raise SystemExit(1)\n")], "code_failed", "no message"),
        ([python(DOUBLE), shown("41\ndone\n")], "output_differs", r"printed '42\ndone'"),
        ([python(DOUBLE), "\n", shown("42\n")], "output_differs", "printed"),
        ([python(DOUBLE), shown("42\ndone\n"), "```python\nprint(1"], "truncated", "print(1"),
        ([enclose("An extract.")], "leaked_prompt_or_refusal", "<document "),
        ([enclose("An extract.").splitlines()[-1]], "leaked_prompt_or_refusal", "</document "),
        (["As an AI, I may not double."], "leaked_prompt_or_refusal", "As an AI"),
        (["Sorry, I cannot help with that."], "leaked_prompt_or_refusal", "I cannot help"),
        (["Twice is twice.\n", *["It is doubled.\n"] * 9], "repeats_itself", "of its lines"),
    ],
)  # fmt: skip
def test_a_lesson_with_a_flaw_is_rejected_with_reason_and_evidence(
    sandbox, parts, reason, evidence
):
    judged = judge_lesson(lesson(*parts), sandbox)
    assert judged.reason == reason
    assert evidence in judged.evidence


def test_a_stub_is_too_short_and_not_executed(sandbox):
    judged = judge_lesson({"title": "T", "text": python("print(1)\n")}, sandbox)
    assert (judged.reason, judged.blocks) == ("too_short", 0)


def test_lines_that_repeat_in_code_are_no_flaw(sandbox):
    code = python("x = 1\nprint(x)\n" * 9)
    assert judge_lesson(lesson(code, "Said once.\n", code), sandbox).reason is None


@pytest.mark.parametrize(
    ("solution", "tests"),
    [
        (SOLUTION, TESTS),
        ("import math\n\n" + SOLUTION.replace("2 * x", "math.prod([2, x])"), TESTS),
        ("def twice(x):\n    return x + x\n\n" + SOLUTION.replace("2 * x", "twice(x)"), TESTS),
    ],
)
def test_a_good_exercise_is_accepted_after_both_runs(sandbox, solution, tests):
    content = {"prompt": "", "solution": solution, "tests": tests}
    assert judge_exercise(content, sandbox) == (None, "", 2)


@pytest.mark.parametrize(
    ("solution", "tests", "reason", "blocks"),
    [
        (SOLUTION, "print(double(2))\n", "no_tests", 0),
        (SOLUTION, "", "no_tests", 0),
        (SOLUTION, "assert double(2) == 5\n", "tests_fail_with_solution", 1),
        (SOLUTION, "assert double(2 == 4\n", "tests_fail_with_solution", 1),
        ("def double(x):\n    return 2 * \n", TESTS, "tests_fail_with_solution", 1),
        ("double = lambda x: 2 * x\n", TESTS, "no_function", 1),
        (SOLUTION, "assert callable(double)\n", "tests_pass_without_body", 2),
        (SOLUTION, "# assert double(2) == 4\n", "tests_pass_without_body", 2),
        ("def double(x):\n    return None\n", "assert double(2) is None\n",
         "tests_pass_without_body", 2),
    ],
)  # fmt: skip
def test_an_exercise_with_a_flaw_is_rejected_with_its_reason(
    sandbox, solution, tests, reason, blocks
):
    judged = judge_exercise({"prompt": "", "solution": solution, "tests": tests}, sandbox)
    assert (judged.reason, judged.blocks) == (reason, blocks)


def test_only_the_last_function_loses_its_body():
    before = "import math\n\ndef helper(x):\n    return x\n\ndef double(x, *, n: int=2):\n    "
    assert without_body(before + "y = n * x\n    return y\n") == before + "pass"


@pytest.mark.parametrize("text", ["x = 1", "def f(:", "x = '\x00'", "x = " + "-" * 5_000 + "1"])
def test_what_holds_no_function_has_no_body_to_remove(text):
    assert without_body(text) is None


def test_nesting_that_no_parser_walks_is_a_verdict_and_no_crash():
    assert without_body("x = " + " + ".join(["1"] * 900) + "\n" + SOLUTION) is None
