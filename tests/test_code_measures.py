"""Every measure of program text against a plain Python version, on text that hypothesis makes."""

import math
import re
from collections import Counter
from typing import get_args

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.code_measures import CodeMeasure, measure_code

PIECES = ["a", "def f():", "def test_it():", "async def g():", "import os", "from os import x",
          "    pass", "print(1)", "assert x", "self.assertEqual(1)", "# TODO: it", "fixme", "todos",
          "définition", "日本", "x = 1", "'a',", '"b": 2,', "}", "]", ",", "0x1F", "0x", "0xZZ",
          "// note", "/* block", "block */", "/* one */", "<!-- a", "-->", "-- note", "% note",
          "; note", '"""d', '"""', "'''", 'r"""raw"""', 'x = """text', "\\x00\\x01", "\\u00e9" * 9,
          "0x00, 0x01, " * 5, "A1b2" * 16, "abcd" * 16, "=" * 80, "Z9" * 31, "\t", " ", " ", "\n",
          "\n", "\n", "\n\n", "\r\n", "\r", "\u00a0", "🎉"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=40)
LITERAL = set("0123456789\"'-+()[]{}<>,.")
RUN = re.compile(r"[A-Za-z0-9+/=\r\n]{64,}")
UNIT = r"(?:\\[xX][0-9a-fA-F]{1,2}|\\[uU][0-9a-fA-F]{1,4}|(?<![A-Za-z0-9_])0[xX][0-9a-fA-F]{1,16})"
UNITS = re.compile(rf"{UNIT}(?:[ \t\r\n,'\"]*{UNIT}){{7,}}")


def share(part, whole):
    return part / whole if whole else 0


def encoded(text):
    runs = [r for r in RUN.findall(text) if sum(c in "0123456789" for c in r) * 16 >= len(r)]
    return [*map(len, runs), *map(len, UNITS.findall(text))]


def says(line, words, whole=True):
    edge = r"(?![A-Za-z0-9_])" if whole else ""
    return re.search(rf"(?<![A-Za-z0-9_])(?i:{words}){edge}", line) is not None


def plain_measures(text):
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    lengths = [len(line.removesuffix("\r")) for line in lines]
    full = [line for line in lines if line.strip(" \t\r\f\v\x1c\x1d\x1e\x1f")]
    shown = [line.strip(" \t\r\f\v\x1c\x1d\x1e\x1f") for line in full]
    twins = Counter(line for line in (trim(line) for line in shown) if len(line.encode()) > 1)
    again = sum(n for n in twins.values() if n > 1)
    first = "import|from", "def|async|func|fn|function", "pass", "print"
    leads = [sum(says(s, f"^(?:{w})") for s in shown) for w in first]
    spaces = sum(map(str.isspace, text))
    letters, found = sum(map(str.isalpha, text)), encoded(text)
    return {
        "chars": len(text),
        "lines": len(lines),
        "full_lines": len(full),
        "max_line_chars": max(lengths, default=0),
        "mean_line_chars": share(sum(lengths), len(lines)),
        "letter_share": share(letters, len(text)),
        "alnum_share": share(sum(map(str.isalnum, text)), len(text)),
        "letters_of_visible_share": share(letters, len(text) - spaces),
        "digit_share": share(sum(c in "0123456789" for c in text), len(text)),
        "space_share": share(spaces, len(text)),
        "non_ascii_share": share(sum(c > "\x7f" for c in text), len(text)),
        "repeated_line_share": share(again, len(full)),
        "literal_line_share": share(sum(s[0] in LITERAL for s in shown), len(full)),
        "encoded_share": share(sum(found), len(text)),
        "longest_encoded_chars": max(found, default=0),
        "undone_line_share": share(sum(says(s, "todo|fixme") for s in shown), len(lines)),
        "assert_line_share": share(sum(says(s, "assert", False) for s in shown), len(full)),
        "import_line_share": share(leads[0], len(full)),
        "function_line_share": share(leads[1], len(full)),
        "pass_line_share": share(leads[2], len(full)),
        "print_line_share": share(leads[3], len(full)),
        "test_functions": sum(says(s, "def test", False) for s in shown),
    }


def trim(line):
    """Without the control characters and blanks at the end that the compiled reading skips."""
    while line and line[-1] <= " ":
        line = line[:-1]
    return line


def measured(text, language=None):
    return {name: values[0] for name, values in measure_code(pa.array([text]), [language]).items()}


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_every_measure_is_that_of_plain_python(text):
    made = measured(text)
    for name, value in plain_measures(text).items():
        assert made[name] == pytest.approx(value, abs=1e-12), (name, text)


def test_every_measure_that_a_rule_may_name_is_made():
    assert set(measured("x")) == set(get_args(CodeMeasure))


@pytest.mark.parametrize(
    ("language", "text", "comment_lines"),
    [
        ("python", "# a\nx = 1  # b\n", 1),
        ("python", '"""Doc\n\nof two."""\nx = 1\n', 2),
        ("python", "def f():\n    r'''Doc.'''\n    return 1\n", 1),
        ("python", 'x = """\n# text\ny\n"""\nz = 1\n', 0),
        ("python", "'''a\n\"\"\"\n'''\nb = 1\n", 3),
        ("python", '# a """ mark\nx = 1\n', 1),
        ("c", "#include <a.h>\n// a\nint x; // b\n", 1),
        ("java", "/*\n * a\n */\nint x;\n", 3),
        ("java", "/* a */\nint x; /* b\n c */\n", 1),
        ("html", "<!-- a\n b -->\n<p>\n", 2),
        ("sql", "-- a\nselect 1;\n", 1),
        ("haskell", "-- a\nx = 1\n", 1),
        ("tex", "% a\nb\n", 1),
        ("clojure", "; a\n(b)\n", 1),
    ],
)
def test_comments_are_told_by_the_marks_of_the_language(language, text, comment_lines):
    full = sum(1 for line in text.splitlines() if line.strip())
    assert measured(text, language)["comment_line_share"] == comment_lines / full


def test_comments_of_an_unknown_language_are_not_a_number():
    assert math.isnan(measured("# a\n")["comment_share"])
    assert math.isnan(measured("# a\n", "brainfuck")["comment_line_share"])
    assert measured("# a\n", "python")["comment_share"] == 3 / 4


def test_hexadecimal_numbers_are_counted_with_their_digits():
    assert measured("x = 0xFF + a0xFF + 0x")["hex_number_share"] == 4 / 21


def test_slices_nulls_chunks_and_neighbours_do_not_change_a_text():
    texts = ["import os\nimport os\n", None, "日本 = 1\n日本 = 1\n", "x" * 300]
    alone = [measured(text or "", "python") for text in texts]
    sliced = pa.array(["import os\n", *texts])[1:]
    for array in (sliced, pa.chunked_array([texts[:1], texts[1:]])):
        made = measure_code(array, ["python"] * 4)
        for name, values in made.items():
            assert values.tolist() == [one[name] for one in alone], name
    assert all(len(v) == 0 for v in measure_code(pa.array([], pa.string()), []).values())


def test_of_a_giant_text_the_beginning_is_read():
    line = "é = 1\n"
    giant = line * ((16 << 20) // len(line.encode()) + 9)
    made = measured(giant, "python")
    assert made["lines"] == (16 << 20) // len(line.encode())  # and not half of the next é
    assert made["max_line_chars"] == 5
