"""Parsing side by side gives what parsing one after the other does."""

import ast
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.parsing import parse, read_literal

SOURCES = [Path(module.__file__).read_text() for module in (ast, json, pytest)]


@pytest.mark.long
def test_trees_made_in_many_threads_are_those_of_one():
    alone = [ast.dump(ast.parse(source)) for source in SOURCES]
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(parse, SOURCES * 20))
    assert [ast.dump(tree) for tree in trees] == alone * 20


def test_errors_are_the_parser_s_own_and_leave_it_usable():
    with pytest.raises(SyntaxError):
        parse("def f(:")
    with pytest.raises(ValueError, match="malformed"):
        read_literal("f(1)")
    assert read_literal("[1, 'a']") == [1, "a"]
