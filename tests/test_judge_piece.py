"""What is accepted of a lesson and what is not, and why: real code in the real sandbox."""

import pytest

from pipeline.code_blocks import read_blocks
from pipeline.flaws import FlawsConfig
from pipeline.judge_piece import judge_lesson
from pipeline.rubrics import enclose
from pipeline.sandbox import SandboxConfig

LIMITS = SandboxConfig(cpu_seconds=1, wall_seconds=4)
PROSE = (
    "To double a number is to add it to itself. The function below does so with one operator, "
    "and because every number knows how to be multiplied, it works for whole numbers and for "
    "fractions alike. Read it first, then say what the call will print "
    "before you look; only then run it, and compare what you see with what you said.\n\n"
)
DOUBLE = "def double(x):\n    return 2 * x\n\nprint(double(21))\nprint('done')\n"
QUIET = "def double(x):\n    return 2 * x\n"


def python(code):
    return f"```python\n{code}```\n"


def shown(output, language="text"):
    return f"```{language}\n{output}```\n"


def lesson(*parts):
    return {"title": "Doubling", "text": "# Doubling\n\n" + PROSE + "\n".join(parts) + "\nThe end."}


@pytest.mark.parametrize(
    ("parts", "executed", "checked", "parsed", "not_executed"),
    [
        ([python(DOUBLE), shown("42\ndone\n")], 1, 1, 0, 0),
        ([python(DOUBLE), "So it prints:\n", shown("42\ndone\n", "")], 1, 1, 0, 0),
        ([python(DOUBLE), "Think of a word that is not said here:\n", shown("no output\n")],
         1, 0, 0, 1),
        ([python("x = 1\n"), python(DOUBLE), shown("42\ndone\n")], 2, 1, 0, 0),
        (["```\nnot said to be Python: 1 +\n```\n", python("assert True\n")], 1, 0, 0, 1),
        (["```bash\nls\n```\n"], 0, 0, 0, 1),
        (['```json\n{"a": [1]}\n```\n', "```yaml\na: [1, 2]\n```\n", "```toml\na = 1\n```\n"],
         0, 0, 3, 0),
        (["Prose alone may do.\n"], 0, 0, 0, 0),
        ([python(QUIET), python("print(double(4))\n"), shown("8\n")], 2, 1, 0, 0),  # builds on it
        ([python(QUIET), python(">>> double(4)\n8\n>>> double('a')\n'aa'\n")], 2, 2, 0, 0),
        ([python(">>> a = 3\n>>> a\n3\n"), python("print(a)\n"), shown("3\n")], 2, 3, 0, 0),
        ([python("print(1)\n'a' + 'b'\n"), shown("1\n'ab'\n")], 1, 1, 0, 0),  # as a notebook
        ([shown(">>> 1 / 0\nTraceback (most recent call last):\n    ...\n"
                "ZeroDivisionError: division by zero\n", "pycon")], 1, 1, 0, 0),
        ([python("print(object())\n"), shown("<object object at 0x7f3a5c2b1d40>\n")], 1, 1, 0, 0),
        ([python("1 / 0\n"), shown("Traceback (most recent call last):\n"
                                   "ZeroDivisionError: division by zero\n")], 1, 1, 0, 0),
        ([python("print(2 * 3)  # 6\nprint('a')  # prints a word\nx = 5  # 7\n")], 1, 1, 0, 0),
        ([python(QUIET + "double(2)  # -> 4\ndouble(2.5)  # => 5.0, a float\n")], 1, 2, 0, 0),
        ([python("import math\nprint(math.pi)  # 3.14\nprint([1, 2])  # output: [1, 2]\n")],
         1, 2, 0, 0),
        ([python("if __name__ == '__main__':\n    print({2, 1})  # {2, 1}\n")], 1, 1, 0, 0),
        ([python("for i in range(2):\n    print(i)  # 7\n")], 1, 0, 0, 0),  # more than one output
        ([python("print(1)\nprint(2)\n"), "This prints `2`.\n"], 1, 1, 0, 0),
        ([python("print(7)\n"), "It prints 7, as was to be seen.\n"], 1, 1, 0, 0),
        (["1. A list:\n\n   ```python\n   if True:\n       print(5)\n   ```\n"], 1, 0, 0, 0),
        (["~~~~py\nprint('```')\n~~~~\n", shown("```\n").replace("```text", "````text")[:-4]
          + "````\n"], 1, 1, 0, 0),
        (["- ```python\n  print(5)\n  ```\n", "> ```py\n> print(6)\n> ```\n", "Said.\n",
          "> 1. ```pycon\n>    >>> 3\n>    3\n>    ```\n"], 3, 1, 0, 0),
        (["> ```python\n> x = 1\n\nThe quotation ended, and the block with it.\n",
          python("assert x == 1\n")], 2, 0, 0, 0),
        ([python(">>> (x for x in [])\n<generator object <genexpr> at 0x109207e60>\n"
                 ">>> for i in range(3): print(i, end=' ')\n0 1 2\n")], 1, 2, 0, 0),
        ([python("help(len)\nexit()\n1 / 0\n")], 1, 0, 0, 0),
        ([shown("print(1)\n", "pycon")], 1, 0, 0, 0),  # no session: it has no prompt
    ],
)  # fmt: skip
def test_a_good_lesson_is_accepted_and_its_code_was_executed(
    sandbox, parts, executed, checked, parsed, not_executed
):
    judged = judge_lesson(lesson(*parts), sandbox)
    assert judged == (None, "", executed, checked, parsed, not_executed)


@pytest.mark.parametrize(
    ("parts", "reason", "evidence"),
    [
        ([python("print(dubble(2))\n")], "code_failed", "NameError: name 'dubble'"),
        ([python(DOUBLE), python("dubble(1)\n")], "code_failed", "after the blocks before it"),
        ([python("while True: pass\n")], "code_failed", "stopped by its limit of"),
        ([python("import socket\nsocket.create_connection(('1.1.1.1', 53))\n")],
         "code_failed", "Network is unreachable"),
        ([python("raise SystemExit(1)\n")], "code_failed", "no message"),
        ([python("import no_such_module\n")], "module_absent", "no_such_module"),
        ([python(DOUBLE), shown("41\ndone\n")], "output_differs", r"printed '42\ndone'"),
        ([python(DOUBLE), "\n", shown("42\n")], "output_differs", "printed"),
        ([python(DOUBLE), "Output:\n", shown("43\n", "")], "output_differs", "printed"),
        ([python("import random\nprint(random.random())\n"), shown("0.1729\n")],
         "output_not_repeatable", "printed"),
        ([python(QUIET), python("print(double(4))\n"), shown("9\n")], "output_differs", "'8'"),
        ([python(">>> 2 + 2\n5\n")], "output_differs", "Expected: 5 Got: 4"),
        ([python(">>> 2 + 2  # doctest: +SKIP\n5\n")], "output_differs", "Expected: 5 Got: 4"),
        ([python(">>> import os\n>>> os._exit(0)\n>>> 2 + 2\n5\n")], "code_failed", "ends the"),
        ([python(">>> 1 / 0\n5\n")], "output_differs", "raised: ZeroDivisionError: division"),
        ([python("print(hex(3735928559))\n"), shown("0xdeadbee0\n")], "output_differs", "0xdead"),
        ([shown("1 / 0\n", "pycon")], "code_failed", "ZeroDivisionError"),
        ([python("x = 1\nraise SystemExit\n"), python("print(x)\n1 / 0\n")], "code_failed",
         "the code before it ends the program"),
        (["- ```python\n  1 / 0\n  ```\n"], "code_failed", "ZeroDivisionError"),
        (["> ```python\n> 1 / 0\n> ```\n"], "code_failed", "ZeroDivisionError"),
        (["Cut off:\n\n  ```python\n  1 +\n"], "code_failed", "SyntaxError"),
        ([python("print(2 * 3)  # 7\n")], "comment_differs", "line 1 is said to be '7'"),
        ([python("print(2 * 3)\nprint(3)  # prints 30\n")], "comment_differs", "line 2"),
        ([python(QUIET + "double(2)  # -> 5\n")], "comment_differs", "line 3 is said to be '5'"),
        ([python(QUIET), python("double(2)  # -> 5\n")], "comment_differs", "line 1"),
        ([python("print(3)\n"), "This prints `4`.\n"], "output_differs", "said to print '4'"),
        (['```json\n{"a": }\n```\n'], "data_does_not_parse", "json: Expecting value"),
        (["```yaml\na: [1\n```\n"], "data_does_not_parse", "yaml:"),
        (["```toml\na = \n```\n"], "data_does_not_parse", "toml:"),
        ([python(DOUBLE), shown("42\ndone\n"), "```python\nprint(1"], "truncated", ""),
        ([enclose("An extract.")], "leaked_prompt", "<document "),
        (["Sorry, I cannot help with that."], "refusal", ""),
    ],
)  # fmt: skip
def test_a_lesson_with_a_flaw_is_rejected_with_reason_and_evidence(
    sandbox, parts, reason, evidence
):
    judged = judge_lesson(lesson(*parts), sandbox)
    assert judged.reason == reason
    assert evidence in judged.evidence


def test_the_title_of_a_block_of_tildes_may_hold_backticks():
    (block,) = read_blocks("~~~python `a title`\nprint(5)\n~~~\n")
    assert (block.kind, block.code) == ("python", "print(5)\n")


def test_a_number_too_long_to_write_is_compared_with_nothing(sandbox):
    code = python(f"print(1)  # 0x{'f' * 5_000}\n")
    assert judge_lesson(lesson(code), sandbox).reason in (None, "comment_differs")


def test_a_stub_is_too_short_and_not_executed(sandbox):
    judged = judge_lesson({"title": "T", "text": python("print(1)\n")}, sandbox)
    assert (judged.reason, judged.blocks) == ("too_short", 0)


def test_lines_that_repeat_in_code_are_no_flaw(sandbox):
    code = python("x = 1\nprint(x)\n" * 9)
    assert judge_lesson(lesson(code, "Said once.\n", code), sandbox).reason is None


def test_a_recipe_may_drop_what_is_not_executed(sandbox):
    piece = lesson("```bash\nrm -rf build\n```\n")
    judged = judge_lesson(piece, sandbox, flaws=FlawsConfig(unexecuted_code=False))
    assert (judged.reason, judged.evidence) == ("block_not_executed", "in bash")


def test_yaml_builds_no_objects(sandbox):
    piece = lesson("```yaml\na: !!python/object/apply:os.system ['false']\n```\n")
    assert judge_lesson(piece, sandbox).reason is None
