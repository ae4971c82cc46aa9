"""Functions compared as syntax trees in which names are numbers, so that renaming is not seen.

A tree is read in order as a list: the kinds of its nodes, operators, literals, builtins and
attributes as they are, and every other name as its number by first appearance. Docstrings,
annotations and decorators are left out. Two lists are compared by their longest matching blocks
(Ratcliff and Obershelp, `difflib`), which costs about a millisecond a pair: only candidates get
here. A function is cut out of any text by its `def` line and indentation, so a page of prose, a
class or a file that does not parse as a whole are all fine; a function that itself does not parse
(Python 2, a cut end) is compared by its tokens.
"""

from __future__ import annotations

import ast
import builtins
import functools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from pipeline.leak_renaming import renamed

_DEF = re.compile(r"^([ \t]*(?:>[ \t]*)*)(?:async[ \t]+)?def[ \t]+\w+", re.MULTILINE)
_BUILTINS = frozenset(dir(builtins))
_LARGEST_RATIO = 2.0  # of two lists' lengths; beyond, the similarity is below 2/3
_MOST_CHARS = 20_000  # of a function
_LEFT_OUT = {
    "annotation",
    "returns",
    "decorator_list",
    "type_comment",
    "ctx",
    "kind",
    "type_params",
}


@dataclass(frozen=True)
class Function:
    """A function's source, and its tree as a list, empty where it does not parse."""

    source: str
    tree: tuple[str, ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        """What is compared where one of two does not parse; without annotations, where it does."""
        return _tokens(renamed(self.source) or self.source)

    @property
    def parts(self) -> int:
        """How large it is."""
        return len(self.tree or self.tokens)


@dataclass(frozen=True)
class Match:
    """Where a text holds the item's functions (in characters), and how alike they are."""

    first: int
    last: int
    score: float


def tree_parts(code: str) -> int:
    """How large a program's functions are, in parts of their trees (or tokens)."""
    return sum(f.parts for f, _, _ in functions_of(code, 0, len(code)))


def best_match(text: str, code: str, low: int, high: int) -> Match | None:
    """The functions of text[low:high] that are most like the item's; large ones weigh more."""
    wanted = functions_of(code, 0, len(code))
    there = functions_of(text, low, high)
    if not wanted or not there:
        return None
    total, score, first, last = sum(f.parts for f, _, _ in wanted), 0.0, len(text), 0
    for function, _, _ in wanted:
        best, begin, end = max(
            ((_alike(function, f), begin, end) for f, begin, end in there), key=lambda m: m[0]
        )
        if best > 0:
            score += best * function.parts / total
            first, last = min(first, begin), max(last, end)
    return Match(first, last, score) if last > first else None


def _alike(one: Function, other: Function) -> float:
    if one.tree and other.tree:
        a, b = one.tree, other.tree
    else:
        a, b = one.tokens, other.tokens
    if not a or not b or max(len(a), len(b)) > _LARGEST_RATIO * min(len(a), len(b)):
        return 0.0
    if a == b:
        return 1.0
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def functions_of(text: str, low: int, high: int) -> list[tuple[Function, int, int]]:
    """All functions that overlap text[low:high], nested ones and methods too, and their places."""
    found = []
    for start in _DEF.finditer(text):
        if start.start() > high:
            break
        end = _end(text, start.end(), len(start.group(1).expandtabs()))
        if end >= low and end - start.start() <= _MOST_CHARS:
            found.append((_read(text[start.start() : end]), start.start(), end))
    return found


@functools.lru_cache(4_096)
def _read(source: str) -> Function:
    return Function(textwrap.dedent(source), _tree(source))


@functools.lru_cache(4_096)
def _tokens(source: str) -> tuple[str, ...]:
    """The tokens with names as numbers by first appearance."""
    from pipeline.leak_tokens import tokens_of

    codes, back, _ = tokens_of(source)
    names: dict[int, int] = {}
    tokens = []
    for i, (code, before) in enumerate(zip(codes.tolist(), back.tolist(), strict=True)):
        if before != -2:
            names[i] = names.get(before, len(names))
        tokens.append(f"n{names[i]}" if before != -2 else str(code))
    return tuple(tokens)


def _end(text: str, at: int, indent: int) -> int:
    """Where the block ends whose first line is indented so: before the next line that is not in."""
    depth_line = text.find("\n", at)
    last = len(text) if depth_line < 0 else depth_line
    opened = text.count("(", at, last) > text.count(")", at, last)
    while last < len(text):
        stop = text.find("\n", last + 1)
        stop = len(text) if stop < 0 else stop
        line = text[last + 1 : stop].expandtabs()
        shown = line.lstrip()
        if shown and len(line) - len(shown) <= indent and not opened:
            break
        if opened and shown.startswith(")"):
            opened = False
        last = stop
    return last


def _tree(source: str) -> tuple[str, ...]:
    """The tree as a list; empty where the source does not parse."""
    try:
        (function,) = ast.parse(textwrap.dedent(source)).body[:1]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    names: dict[str, str] = {}
    return tuple(_walk(function, names))


def _walk(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    yield type(node).__name__
    for field, value in ast.iter_fields(node):
        if field in _LEFT_OUT:
            continue
        body = _without_docstring(node, field, value)
        for part in body if isinstance(body, list) else [body]:
            if isinstance(part, ast.AST):
                yield from _walk(part, names)
            elif isinstance(node, ast.Constant):
                yield repr(part)[:60]
            elif isinstance(part, str):
                kept = part in _BUILTINS or field == "attr"
                yield part if kept else names.setdefault(part, f"n{len(names)}")


def _without_docstring(node: ast.AST, field: str, value: object) -> object:
    if field == "body" and isinstance(value, list) and value and _is_text(value[0]):
        return value[1:]
    return value


def _is_text(statement: object) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
