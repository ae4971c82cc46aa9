"""Programs under other names are found, where words fail; anybody's code is not."""

import pyarrow as pa
import pytest

from pipeline.benchmark_items import Item
from pipeline.leak_code import CodeRules, find_code, make_code_index
from pipeline.leak_index import WordRules, make_index
from pipeline.leak_renaming import renamed
from pipeline.leak_tokens import run_hashes, winnow
from pipeline.leak_words import find_words

CODE = '''
def has_close(numbers: list[float], limit: float) -> bool:
    """Are any two numbers closer to each other than the limit?"""
    for i, one in enumerate(numbers):
        for k, other in enumerate(numbers):  # every pair
            if i != k:
                distance = abs(one - other)
                if distance < limit:
                    return True
    return False
'''
SMALL = "def count_marks(text):\n    total = 0\n    for mark in text:\n        total += mark in '!?'\n    return total\n"  # noqa: E501
TINY = "def add(x, y):\n    return x + y\n"
RULES = CodeRules()


def find(code, text):
    item = Item("b", "0", (("code", code),), code=code)
    texts = pa.array([text], pa.large_string())
    return list(find_code(texts, ["doc"], [item], make_code_index([item], RULES), RULES))


def plain(code, text):
    item = Item("b", "0", (("code", code),))
    index = make_index([item], WordRules(code_ngram_words=13))
    return list(find_words(pa.array([text]), ["doc"], [item], index, 60))


@pytest.mark.parametrize("code", [CODE, SMALL])
def test_a_renamed_copy_is_found_where_thirteen_words_find_nothing(code):
    copy = renamed(code)
    assert "numbers" not in copy
    assert plain(code, copy) == []
    (row,) = find(code, f"import os\n\n\nclass A:\n    x = 1\n\n{copy}\nprint(os.name)\n")
    assert row["score"] == 1
    assert row["document_text"].strip().find("alpha_0") > 0


def test_a_renamed_copy_in_a_page_and_in_a_class_is_found():
    page = f"# Lesson\n\nIt's “so” don't\n\n```python\n{renamed(CODE)}\n```\nThe end's near.\n"
    assert len(find(CODE, page)) == 1
    method = "\n".join(f"    {line}" for line in renamed(CODE).splitlines())
    assert len(find(CODE, f"class Tools:\n{method}\n")) == 1


def test_a_copy_with_a_line_more_is_found_and_a_function_of_the_same_kind_is_not():
    more = renamed(CODE).replace("    return False", "    print('none')\n    return False")
    (row,) = find(CODE, more)
    assert 0.9 <= row["score"] < 1
    other = """
def pairs(words, seen):
    for i, word in enumerate(words):
        if word in seen:
            yield i, word
        seen.add(word)
    return None
"""
    assert find(CODE, other) == []


def test_a_function_that_does_not_parse_is_compared_by_its_tokens():
    broken = renamed(CODE).replace("return False", "return False\n    print 'old'")
    (row,) = find(CODE, broken)
    assert row["score"] > 0.95


def test_what_is_anybodys_is_no_hit():
    assert find(TINY, renamed(TINY)) == []
    common = 'if __name__ == "__main__":\n    main()\n' + SMALL.replace("in '!?'", "* 2")
    assert find(CODE, common) == []


def test_runs_of_tokens_see_neither_names_nor_layout_but_see_which_name_is_which():
    one = "def f(a, b):\n    # add\n    c = a + b * len(a)\n    return c - b\n"
    two = "def g(x,y):\n  '''doc'''\n  z=(x+y*len(x))\n  return z-y"
    swapped = "def g(x,y):\n  z=(x+y*len(y))\n  return z-y"
    assert run_hashes(one).tolist() == run_hashes(two).tolist()
    assert run_hashes(one).tolist() != run_hashes(swapped).tolist()
    assert set(winnow(run_hashes(CODE))) <= set(run_hashes(CODE).tolist())


def test_a_program_keeps_builtins_attributes_and_recursion_when_it_is_renamed():
    copy = renamed("def f(n):\n    '''d'''\n    return n.real + f(n=max(n, 1))\n")
    assert "real" in copy
    assert "max(" in copy
    assert copy.count("alpha_0") == 2
    assert renamed("def f(:") is None
