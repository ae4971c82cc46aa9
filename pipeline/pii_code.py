"""Where a program may be edited: inside of its strings and comments, while it still parses.

What stands elsewhere is code (`x@weights.shape` is no mailbox, 4155552671 no telephone) and is
left, but for secrets, which speak against the whole file. tree-sitter says what is a string or a
comment; Python's parser has the last word. A text that Python cannot parse, in whatever language,
is edited in lines that are all comment and between double quotes on one line.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from pipeline.parsing import parse
from pipeline.pii_config import SECRETS, Find

if TYPE_CHECKING:
    from tree_sitter import Parser

_COMMENT_LINE = re.compile(
    r"\s*(?:#(?!\s*(?:define|include|if))|//|/?\*|--|;|%|<!--|\.\. |rem\s)", re.I
)
_AUTHOR_LINE = re.compile(
    r"copyright|\(c\)|©|author|maintain|licen[cs]e|written by|contributor", re.I
)
_HEADER_LINES = 40
_QUOTE = re.compile(r'(?<!\\)"')  # double ones alone: single ones are apostrophes too


def parses(source: str) -> bool:
    """Whether this is Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in somebody's strings
        try:
            parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def split_finds(
    source: str, finds: Iterable[Find], is_python: bool
) -> tuple[list[Find], list[Find]]:
    """The finds that stand where a program may be edited, and the others."""
    inside = _InsidePython(source) if is_python else partial(_inside_quotes_or_comment, source)
    can: list[Find] = []
    cannot: list[Find] = []
    for find in finds:
        (can if inside(find) else cannot).append(find)
    return can, cannot


def without_authors(source: str, finds: Sequence[Find]) -> list[Find]:
    """The finds but for e-mails beside an author or a copyright at the top of a file."""
    return [find for find in finds if not _names_author(source, find)]


def _names_author(source: str, find: Find) -> bool:
    if find.type != "email" or source.count("\n", 0, find.start) >= _HEADER_LINES:
        return False
    line = source.rfind("\n", 0, find.start) + 1
    return _AUTHOR_LINE.search(source, line, find.start) is not None


@lru_cache(maxsize=1)
def _parser() -> Parser:
    import tree_sitter_python
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_python.language()))


class _InsidePython:
    """Whether a find stands in one string or one comment of a Python program."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.root = _parser().parse(source.encode()).root_node
        self.chars = self.bytes = 0  # how far the source was walked: finds come in its order

    def __call__(self, find: Find) -> bool:
        start, end = self._byte(find.start), self._byte(find.end)
        node = self.root.descendant_for_byte_range(start, end)
        while node is not None and node.type not in {"string", "comment"}:
            node = None if node.type == "interpolation" else node.parent
        return node is not None

    def _byte(self, char: int) -> int:
        """Where a character begins in UTF-8."""
        self.bytes += len(self.source[self.chars : char].encode())
        self.chars = char
        return self.bytes


def _inside_quotes_or_comment(source: str, find: Find) -> bool:
    """Secrets aside: without a parser nothing says that what is left of one is harmless."""
    start = source.rfind("\n", 0, find.start) + 1
    end = source.find("\n", find.start)
    end = len(source) if end < 0 else end
    if find.type in SECRETS or find.end > end:
        return False
    before, after = source[start : find.start], source[find.end : end]
    between = len(_QUOTE.findall(before)) % 2 == 1 and _QUOTE.search(after) is not None
    return between or _COMMENT_LINE.match(before) is not None
