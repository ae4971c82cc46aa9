"""Programs are edited in strings and comments only, and parse afterwards."""

import ast

import pytest

from benchmarks.pii_plants import plants
from pipeline.clean_rules import Verdict
from pipeline.pii import PiiConfig, redact_text
from pipeline.pii_marks import EVERY

TOKEN = next(p.value for p in plants(1, 1) if p.sort == "github")


def redacted(source, **fields):
    return redact_text(source, "code", PiiConfig(**fields), EVERY)


def test_strings_and_comments_are_redacted():
    source = f'''"""By anna@web.de."""
x = f"{{y}} anna@web.de"  # ask anna@web.de
z = b"82.252.162.81"; é = 'über +49 30 23456789'
k = "{TOKEN}"
'''
    judged = redacted(source)
    assert judged.verdict is None
    assert judged.counts == {"email": 3, "ip": 1, "phone": 1, "secret": 1}
    assert (
        judged.text
        == '''"""By <EMAIL>."""
x = f"{y} <EMAIL>"  # ask <EMAIL>
z = b"<IP>"; é = 'über <PHONE>'
k = "<SECRET>"
'''
    )
    ast.parse(judged.text)


@pytest.mark.parametrize(
    "source",
    [
        "y = w@layer.shape\n",
        "n = 4556737586899855\n",
        "f'{w@layer.web}'\n",
        "phone = 313_577_2424\n",
    ],
)
def test_code_is_no_personal_data(source):
    assert redacted(source) == (source, {}, None)


@pytest.mark.parametrize("source", [f"x = {TOKEN}\n", f"x = {TOKEN} +\n", f"# {TOKEN}\nx = (\n"])
def test_a_secret_where_the_program_may_not_be_edited_drops_it(source):
    judged = redacted(source)
    assert judged.verdict.reason == "secret"
    assert TOKEN not in judged.verdict.evidence
    assert judged.text == source


def test_a_key_over_several_strings_drops_the_program():
    key = next(p.words for p in plants(1, 1) if p.sort == "PRIVATE KEY")
    lines = "\n".join(f'    "{line}\\n"' for line in key.splitlines())
    judged = redacted(f"KEY = (\n{lines}\n)\n")
    assert judged.verdict == Verdict("secret", "private_key at line 2")
    whole = redacted(f'KEY = """{key}"""\n')
    assert (whole.text, whole.verdict) == ('KEY = """<PRIVATE_KEY>"""\n', None)


def test_what_is_not_python_is_edited_in_comment_lines_and_between_quotes_only():
    header = "/*\n * By Anna <anna@web.de>\n */\n// see anna@web.de\n"
    judged = redacted(header + "int main() { return 0; }\n")
    assert judged.text.count("<EMAIL>") == 2
    assert judged.verdict is None
    quoted = header + 'char *to = "say \\"hi\\" to anna@web.de"; // it\'s she\n'
    judged = redacted(quoted)
    assert judged.text.count("<EMAIL>") == 3
    assert judged.verdict is None
    source = header + 'char *to = "x"; mail(anna@web.de);\n'
    assert redacted(source).verdict == Verdict("personal_data", "email at line 5")
    kept = redacted(source, unparsed_code="keep")
    assert kept.verdict is None
    assert kept.text.count("anna@web.de") == 1


def test_authors_are_kept_when_asked_and_only_at_the_top():
    source = "# Copyright 2011 Anna <anna@web.de>\nx = 'anna@web.de'\n" + "\n" * 50
    source += "# Author: anna@web.de\n"
    assert redacted(source).counts == {"email": 3}
    kept = redacted(source, keep_author_emails=True)
    assert kept.counts == {"email": 2}
    assert kept.text.startswith("# Copyright 2011 Anna <anna@web.de>")


def test_every_plant_in_a_comment_or_a_string_leaves_a_program_that_parses():
    for plant in plants(23, 1):
        source = f'x = 1\ny = """{plant.words}"""\n'
        judged = redacted(source)
        ast.parse(judged.text)
        assert plant.value not in judged.text or plant.sort == "national alone"


def test_an_edit_that_breaks_the_program_drops_it(monkeypatch):
    monkeypatch.setitem(__import__("pipeline.pii", fromlist=["x"]).PLACEHOLDERS, "email", "'")
    judged = redacted("x = 'anna@web.de'\n")
    assert judged.verdict == Verdict("personal_data", "email at line 1")
    assert judged.text == "x = 'anna@web.de'\n"


@pytest.mark.parametrize("source", ["x = '\\d'  # anna@web.de\n", "\ufeffx = 1  # anna@web.de\n",
                                    "x = " + "(" * 300 + ")" * 300 + "  # anna@web.de\n",
                                    "print 'x'  # anna@web.de\n", "\0 # anna@web.de"])  # fmt: skip
def test_odd_programs_end_in_an_answer(source):
    judged = redacted(source)
    assert judged.verdict is not None or "anna" not in judged.text
