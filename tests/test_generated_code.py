"""Programs that a model wrote: what passes, what does not, and the estimate of pass@k."""

import gzip
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import SHARED_DATA
from downstream.generated_code import (
    CodeLimits,
    humaneval_program,
    mbpp_program,
    opened_judge,
    pass_at_k,
    usual_ks,
)

LIMITS = CodeLimits(cpu_seconds=1, wall_seconds=30)
DOUBLE = {
    "item": 3,
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    "entry_point": "double",
}
RIGHT, WRONG = "    return 2 * x\n", "    return x * x\n"


@pytest.fixture(scope="module")
def judge():
    with opened_judge(humaneval_program, LIMITS, 2) as opened:
        yield opened


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_program_that_passes(drawn, data):
    passed, k = data.draw(st.integers(0, drawn)), data.draw(st.integers(1, drawn))
    programs = [i < passed for i in range(drawn)]
    draws = list(itertools.combinations(programs, k))
    assert pass_at_k(drawn, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_the_usual_k_are_those_that_so_many_programs_can_tell():
    assert [usual_ks(n) for n in (1, 3, 10, 200)] == [[1], [1, 3], [1, 10], [1, 10, 100, 200]]


def test_each_problem_gets_its_estimate_and_the_reasons(judge):
    told = judge(DOUBLE, [[RIGHT, WRONG, "    return 2 *\n", RIGHT]])
    assert told == {"pass@1": pytest.approx(0.5), "pass@4": 1.0}
    right, wrong, broken, again = judge.problems[3]
    assert right is again is None
    assert "AssertionError" in wrong
    assert "SyntaxError" in broken


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("    return 2 * x\nimport os\nos._exit(0)\n", "ended before its last test"),
        ("    raise SystemExit(0)\n", "ended before its last test"),
        ("    while True:\n        pass\n", "processor time"),
        ("    return len(open('/etc/passwd').read())\n", "FileNotFoundError"),
        ("    import socket\n    return socket.create_connection(('127.0.0.1', 1))\n", "Error"),
        ("    return 2 * x\n\x00", "null bytes"),
    ],
)
def test_what_does_not_pass_its_tests_by_itself_has_not_passed(judge, answer, problem):
    assert problem in judge.problem_of(DOUBLE, answer)


def test_a_program_of_mbpp_stands_before_its_tests():
    row = {"test_setup_code": "n = 3", "test_list": ["assert f(n) == 9", "assert f(1) == 1"]}
    with opened_judge(mbpp_program, LIMITS, 1) as judge:
        assert judge.problem_of(row, "def f(x):\n    return x * x") is None
        assert "AssertionError" in judge.problem_of(row, "def f(x):\n    return x")


def test_nothing_is_opened_where_nothing_is_run():
    with opened_judge(None, LIMITS, 1) as judge:
        assert judge is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["HumanEval", "mbpp"])
def test_the_published_solutions_pass(name):
    path = SHARED_DATA / "benchmarks" / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    program = humaneval_program if name == "HumanEval" else mbpp_program
    answers = [row["canonical_solution"] if "prompt" in row else row["code"] for row in rows]
    with opened_judge(program, CodeLimits(wall_seconds=60, cpu_seconds=30), 2) as judge:
        failed = [
            (row["task_id"], problem)
            for row, answer in zip(rows, answers, strict=True)
            if (problem := judge.problem_of(row, answer))
        ]
    assert failed == []
