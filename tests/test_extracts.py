"""Extracts stand by themselves: code that runs without its file, prose in whole paragraphs."""

import ast
import builtins
import dis
import sysconfig
import types
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extracts import extract_all

LIBRARY = Path(sysconfig.get_path("stdlib"))


def extracts(text, kind="code", max_chars=4_000):
    row = {"doc_id": "d", "kind": kind, "group": "g", "licence": "MIT", "text": text}
    return list(extract_all(row, max_chars))


def function(body, head="def f(x):"):
    return f"{head}\n" + "".join(f"    {line}\n" for line in body.split("; ")) + "    return x\n"


@pytest.mark.parametrize(
    "text",
    [
        function("y = x; z = y"),
        function("y = sorted(x, key=lambda item: item[0]); print(y)"),
        function("y = [i for i in x]; z = {k: v for k, v in y}"),
        function("import math; y = math.pi"),
        function("if (n := len(x)) > 1:;     x = n"),
        function("for i, (a, *b) in enumerate(x):;     print(i, a, b)"),
        function("with open(x) as file:;     print(file)"),
        function("x = x and f(x[1:]); y = 1"),
        function("def g(y):;     return y;   ; x = g(x)"),
        function("y = 1; z = y", "def f(x: int, key=lambda v: v[0], *, n=len('abc')) -> str:"),
    ],
)
def test_a_function_that_is_whole_by_itself_is_taken(text):
    (one,) = extracts(text)
    assert (one.topic, one.text) == ("f", text)
    assert (one.doc_id, one.kind, one.group, one.licence) == ("d", "code", "g", "MIT")


@pytest.mark.parametrize(
    "text",
    [
        "LIMIT = 3\n" + function("y = LIMIT; z = y"),
        "def g(x):\n    return x\n" + function("y = g(x); z = y"),
        "N = 3\n" + function("y = 1; z = y", "def f(x=N):"),
        "x = []\n" + function("y = 1; z = y", "def f(x=x):"),
        "class T: ...\n" + function("y = 1; z = y", "def f(x: T):"),
        "class T: ...\n" + function("y = 1; z = y", "def f(x) -> T:"),
        function("y = 1; z = y", "def f(x=f):"),
        "seen = []\n" + function("global seen; seen = seen + [x]"),
        "from . import sibling\n" + function("y = sibling.go(x); z = y"),
        function("from .sibling import go; y = go(x)"),
        "from os.path import *\n" + function("y = join(x, x); z = y"),
        "@property\n" + function("y = x; z = y"),
        "async " + function("y = x; z = y"),
        "class C:\n    def f(self, x):\n        y = x\n        z = y\n        return z\n",
        function("y = 1; z = y", "def test_f(x):"),
        function("y = 1; z = y", "def __f__(x):"),
        function("y = 1; x = y", "def f():"),
        "def f(x):\n    return x\n",
        function("; ".join(["y = x"] * 45)),
        function("y = 1; z = y", "def f(x)"),
        "x = '\x00'",
    ],
)
def test_a_function_that_needs_its_file_or_is_no_lesson_is_not(text):
    assert extracts(text) == []


def test_only_the_imports_that_it_uses_come_with_it():
    needed = function("y = math.pi; z = join(str(x), str(y))")
    (one,) = extracts("import os, re\nimport math\nfrom posixpath import join\n\n" + needed)
    assert one.text == "import math\nfrom posixpath import join\n\n" + needed


@pytest.mark.parametrize("odd", ["\x0c", "\x0b", "\x1c", "\u2028", "\x85"])
def test_a_sign_that_ends_no_line_of_code_moves_nothing(odd):
    wanted = function("y = x; z = y")
    (one,) = extracts(f"# one page{odd}and another\n{wanted}\nz = 1\n")
    assert one.text == wanted


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_are_read(end):
    wanted = function("y = x; z = y")
    (one,) = extracts(f"import os\n\n{wanted}".replace("\n", end))
    assert one.text == wanted


def globals_of(code: types.CodeType) -> set[str]:
    """What the byte code looks up outside of functions: another witness than the parse tree."""
    found = {
        i.argval for i in dis.get_instructions(code) if i.opname in {"LOAD_GLOBAL", "LOAD_NAME"}
    }
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return found.union(*map(globals_of, inner))


def test_every_extract_of_the_standard_library_compiles_and_lacks_no_name():
    found = 0
    for path in sorted(LIBRARY.glob("[a-m]*.py")):
        text = path.read_text(errors="replace")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in others' code
            originals = {ast.dump(n) for n in ast.parse(text).body}
            for one in extracts(text):
                code = compile(one.text, path.name, "exec")
                (made,) = [n for n in ast.parse(one.text).body if isinstance(n, ast.FunctionDef)]
                assert made.name == one.topic
                assert ast.dump(made) in originals
                given = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
                assert globals_of(code) <= given | set(dir(builtins)), (path.name, one.topic)
                found += 1
    assert found > 100


PARAGRAPHS = st.lists(st.tuples(st.sampled_from(["a ", "b\n", "c.", "é"]), st.integers(0, 400)))


@given(PARAGRAPHS, st.integers(500, 1_500))
def test_prose_windows_are_whole_paragraphs_within_the_budget(paragraphs, max_chars):
    text = "\n\n".join(sign * times for sign, times in paragraphs)
    left = text.split("\n\n")
    for one in extracts(text, "web", max_chars):
        assert min(400, max_chars // 2) <= len(one.text) <= max_chars
        window = one.text.split("\n\n")
        while left[: len(window)] != window:  # in reading order, none twice
            assert left, "the window is not a run of paragraphs"
            del left[0]
        del left[: len(window)]


def test_prose_fills_its_windows_and_is_named_by_its_first_words():
    paragraphs = [f"## Part {i} of the tale\n" + "Words follow words. " * 10 for i in range(12)]
    found = extracts("\n\n".join(paragraphs), "web", 1_000)
    assert "\n\n".join(one.text for one in found) == "\n\n".join(paragraphs)
    assert [one.topic for one in found] == [f"Part {i} of the tale" for i in (0, 4, 8)]
    assert extracts("Too short to teach.", "web", 1_000) == []


def test_an_extract_over_the_budget_is_left_out():
    text = function("; ".join([f"y = '{'long ' * 20}'"] * 10))
    assert extracts(text, max_chars=5_000)
    assert extracts(text, max_chars=500) == []
