"""An exercise is accepted only if its tests tell the solution from a function without one."""

import pytest

from pipeline.judge_exercise import judge_exercise, without_body
from pipeline.sandbox import SandboxConfig

LIMITS = SandboxConfig(cpu_seconds=1, wall_seconds=4)
PROMPT = 'def double(x):\n    """Twice x.\n\n    >>> double(2)\n    4\n    """\n'
SOLUTION = PROMPT + "    return 2 * x\n"
TESTS = "assert double(2) == 4\nassert double(-1.5) == -3\n"


def exercise(prompt=PROMPT, solution=SOLUTION, tests=TESTS):
    return {"prompt": prompt, "solution": solution, "tests": tests}


NOTHING = 'def six():\n    """Return six."""\n'
WAITING = 'async def double(x):\n    """Twice x, later."""\n'


@pytest.mark.parametrize(
    ("changed", "runs"),
    [
        ({}, 4),
        ({"prompt": PROMPT + "    pass\n"}, 4),
        ({"prompt": PROMPT + "    ...\n"}, 4),
        ({"prompt": PROMPT + "    raise NotImplementedError\n"}, 4),
        ({"prompt": "import math\n\n" + PROMPT,
          "solution": "import math\n\n" + SOLUTION.replace("2 * x", "math.prod([2, x])")}, 4),
        ({"solution": "def twice(x):\n    return x + x\n\n"
          + SOLUTION.replace("2 * x", "twice(x)")}, 4),
        ({"solution": SOLUTION + "\n\ndef other(x):\n    return x\n"}, 4),
        ({"tests": "def test_it():\n    assert double(2) == 4\n    assert double(0) == 0\n"}, 4),
        ({"prompt": NOTHING, "solution": NOTHING + "    return 6\n",
          "tests": "assert six() == 6\nassert six() + 1 == 7\n"}, 3),  # no argument to hand back
        ({"prompt": WAITING, "solution": WAITING + "    return 2 * x\n",
          "tests": "import asyncio\nassert asyncio.run(double(2)) == 4\n"
                   "assert asyncio.run(double(3)) == 6\n"}, 4),
        ({"tests": "from __future__ import annotations\n" + TESTS}, 4),
        ({"tests": "assert 4 == double(2)\nassert double(1) > 1\nassert double(0) in (0, 1)\n"}, 4),
        ({"tests": "seen = []\ndef test_it():\n    assert double(2) == 4\n    seen.append(1)\n"
                   "    assert seen == [1]\ntest_it()\n"}, 4),  # called once, not again
        ({"tests": TESTS + "try:\n    double(None)\n    assert False\n"
                           "except TypeError:\n    pass\n"}, 4),
    ],
)  # fmt: skip
def test_a_good_exercise_is_accepted_after_every_run(sandbox, changed, runs):
    assert judge_exercise(exercise(**changed), sandbox) == (None, "", runs, 0, 0, 0)


@pytest.mark.parametrize(
    ("changed", "reason", "runs"),
    [
        ({"prompt": "Write a function that doubles."}, "prompt_is_no_signature", 0),
        ({"prompt": "def double(x):"}, "prompt_is_no_signature", 0),
        ({"prompt": "class Double:\n    '''A class.'''\n"}, "prompt_is_no_signature", 0),
        ({"prompt": "def double(x):\n    pass\n"}, "prompt_without_docstring", 0),
        ({"prompt": SOLUTION}, "prompt_gives_solution", 0),
        ({"solution": "double = lambda x: 2 * x\n"}, "no_function", 0),
        ({"solution": "def double(x):\n    return 2 * \n"}, "no_function", 0),
        ({"solution": SOLUTION.replace("double(x)", "twice(x)")}, "no_function", 0),
        ({"solution": SOLUTION.replace("(x)", "(x, y=1)")}, "solution_is_another", 0),
        ({"solution": "async " + SOLUTION}, "solution_is_another", 0),
        ({"tests": "print(double(2))\n"}, "too_few_tests", 0),
        ({"tests": "assert double(2) == 4\n"}, "too_few_tests", 0),
        ({"tests": ""}, "too_few_tests", 0),
        ({"tests": "# assert double(2) == 4\n# assert double(3) == 6\n"}, "too_few_tests", 0),
        ({"tests": "assert double(2 == 4\n"}, "tests_do_not_parse", 0),
        ({"tests": "assert callable(double)\nassert 1 + 1 == 2\n"}, "tests_do_not_call_it", 0),
        ({"tests": "def double(x):\n    return 2 * x\n" + TESTS}, "tests_redefine_it", 0),
        ({"tests": TESTS + "assert double(2) == 5\n"}, "tests_fail_with_solution", 1),
        ({"tests": TESTS + "assert triple(2) == 6\n"}, "tests_fail_with_solution", 1),
        ({"tests": "double(1)\nassert 1 == 1\nassert 2 == 2\n"}, "tests_pass_without_body", 2),
        ({"tests": "def later():\n    assert double(2) == 4\n    assert double(3) == 6\n"},
         "too_few_tests_run", 1),  # never called
        ({"tests": "assert double(0) == 0\nassert double('') == ''\n"},
         "tests_pass_without_body", 3),  # true of the argument itself
        ({"solution": PROMPT + "    global seen\n    seen = 1\n    return 2 * x\n",
          "tests": "double(1)\nassert seen == 1\nassert double(2) == 4\n"},
         "tests_fail_for_another_reason", 2),
        ({"tests": "import time\nwhile double(2) != 4:\n    pass\n" + TESTS},
         "tests_fail_for_another_reason", 2),
    ],
)  # fmt: skip
def test_an_exercise_with_a_flaw_is_rejected_with_its_reason(sandbox, changed, reason, runs):
    judged = judge_exercise(exercise(**changed), sandbox)
    assert (judged.reason, judged.blocks) == (reason, runs)
    assert judged.evidence


HIDDEN_END = "    import os\n    getattr(os, '_ex' + 'it')(0)\n"
ALWAYS = "    class Any:\n        def __eq__(self, _):\n            return True\n    return Any()\n"
WORD = "    word = next(n for n in globals() if n.startswith('_passed_'))[8:]\n"
SAY_IT = "    import os\n    os.write(1, (word + ':9;').encode())\n"


@pytest.mark.parametrize(
    ("body", "tests", "reason"),
    [
        ("    raise SystemExit\n", TESTS, "tests_end_early"),
        ("    import sys\n    sys.exit(0)\n", TESTS, "tests_end_early"),
        (HIDDEN_END, TESTS, "tests_end_early"),
        ("    import os\n    os.execv('/bin/true', ['true'])\n", TESTS, "tests_end_early"),
        ("    import atexit, os\n    atexit.register(getattr(os, '_ex' + 'it'), 0)\n    return 5\n",
         TESTS, "tests_end_early"),
        ("    import os, sys\n    sys.excepthook = lambda *_: getattr(os, '_ex' + 'it')(0)\n",
         TESTS, "tests_end_early"),
        ("    import sys\n    sys.exit = print\n    return 5\n", TESTS, "tests_fail_with_solution"),
        ("    import os\n    os._exit(0)\n", TESTS, "solution_looks_around"),
        ("    import sys\n    return {2: 4}.get(x, sys._getframe(1).f_code.co_consts[-2])\n", TESTS,
         "solution_looks_around"),
        ("    from inspect import stack\n    return stack()\n", TESTS, "solution_looks_around"),
        (ALWAYS, TESTS, "tests_cannot_fail"),
        (ALWAYS, "assert 4 == double(2)\nassert -3 == double(-1.5)\n", "tests_cannot_fail"),
        (WORD + SAY_IT + HIDDEN_END, TESTS, "tests_cannot_fail"),
        ("    return 3 * x\n",
         "import sys\nif double(2) not in (None, 2):\n    sys.exit()\n" + TESTS, "tests_end_early"),
        ("    return 3 * x\n",
         "assert double(2) in (4, 6)\nif double(2) != 6:\n    assert double(2) == 4\n",
         "too_few_tests_run"),
    ],
)  # fmt: skip
def test_success_cannot_be_forged(sandbox, body, tests, reason):
    forged = exercise(solution=PROMPT + body, tests=tests)
    assert judge_exercise(forged, sandbox).reason == reason


def test_a_variable_may_bear_the_name_of_a_module(sandbox):
    solution = PROMPT + "    gc = x.real + x\n    return gc\n"
    assert judge_exercise(exercise(solution=solution), sandbox).reason is None


def test_a_recipe_may_ask_for_more_tests(sandbox):
    judged = judge_exercise(exercise(), sandbox, min_asserts=3)
    assert (judged.reason, judged.evidence) == ("too_few_tests", "2 asserts, 3 are asked for")


def test_only_the_last_function_loses_its_body():
    before = "import math\n\ndef helper(x):\n    return x\n\ndef double(x, *, n: int=2):\n    "
    assert without_body(before + "y = n * x\n    return y\n") == before + "pass"


@pytest.mark.parametrize("text", ["x = 1", "def f(:", "x = '\x00'", "x = " + "-" * 5_000 + "1"])
def test_what_holds_no_function_has_no_body_to_remove(text):
    assert without_body(text) is None


def test_nesting_that_no_parser_walks_is_a_verdict_and_no_crash(sandbox):
    deep = "x = " + " + ".join(["1"] * 900) + "\n" + SOLUTION
    assert without_body(deep) is None
    assert judge_exercise(exercise(solution=deep), sandbox).reason == "solution_cannot_be_emptied"
