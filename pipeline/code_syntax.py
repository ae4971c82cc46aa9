"""Does Python parse, and if not: is it Python 2, newer than this interpreter, or broken?

The parser is this interpreter's own (`pipeline.parsing`). What it refuses is Python 2 where the
line that it stumbles over says so (`print "x"`, `except E, e:`, `0777`, ...). Otherwise tree-sitter
is asked, whose grammar knows newer Python (`type X = int`, `class A[T]`): what that finds whole
counts as parsing, so that a verdict does not hang on the interpreter's version. A text cut short is
broken.

Cost: 900 microseconds a file on the shared code (5.4 kB each), seven times all other facts and
rules together (docs/code_rules.md). So it is done only where it is asked for.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from pipeline.parsing import parse

if TYPE_CHECKING:
    import tree_sitter

MOST_CHARS = 1_000_000  # parsing takes up to 100 bytes of memory a byte; longer texts are not asked
_PYTHON_2 = re.compile(
    r"""^\s*print\s+[\w"'%(]                  # print "x"
    |^\s*print\s*>>
    |^\s*exec\s+[\w"']
    |^\s*except\s+[\w.()\s,]+,\s*[a-z_]\w*\s*:    # except E, e:   (except A, B: is Python 3.14)
    |^\s*raise\s+[\w.]+\s*,
    |<>
    |\b0\d+\b                                 # 0777
    |\b(?:\d+|0[xX][\da-fA-F]+)[lL]\b         # 10L
    |\b[uU][rR]["']
    |`[^`]+`                                  # `x`
    |\b(?:def|lambda)\b[^:]*\(\s*\w+\s*,[^:]*\)   # def f(a, (b, c)):
    """,
    re.X,
)
_BROKEN = ("unterminated", "unexpected EOF", "too many nested")  # in any version
_SAYS_PYTHON_2 = ("Missing parentheses in call to", "leading zeros in decimal integer literals")


class Syntax(NamedTuple):
    """Why a text does not parse; the evidence names the line."""

    flag: Literal["python2", "unparsable"]
    evidence: str


def check_python(text: str) -> Syntax | None:
    """Why this Python does not parse, or None."""
    source = text.removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that a later Python will refuse
            parse(source)
    except SyntaxError as error:
        line = (error.text or "").rstrip("\n")
        evidence = f"line {error.lineno}: {error.msg}"
        if str(error.msg).startswith(_BROKEN):
            return Syntax("unparsable", evidence)
        if _PYTHON_2.search(line) or str(error.msg).startswith(_SAYS_PYTHON_2):
            return Syntax("python2", evidence)
        return Syntax("unparsable", evidence) if not _is_newer(source) else None
    except (ValueError, RecursionError, MemoryError) as error:
        return Syntax("unparsable", str(error) or type(error).__name__)
    return None


def _is_newer(source: str) -> bool:
    """Whether tree-sitter's grammar finds no error."""
    tree = _parser().parse(source.encode("utf-8", "replace"))
    return tree is not None and not tree.root_node.has_error


@lru_cache(maxsize=1)
def _parser() -> tree_sitter.Parser:
    import tree_sitter
    import tree_sitter_python

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))
