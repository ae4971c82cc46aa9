"""Extracts: the pieces of kept documents that lessons and exercises are grounded in.

From code, one function that a lesson could be about: of a moderate length, with arguments, not a
test, and whole by itself: with its imports it uses no name that is defined elsewhere. From prose, a
window of whole paragraphs.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.parsing import parse

_FEWEST_LINES, _MOST_LINES = 4, 45
_LINE_END = re.compile(r"\r\n|\r|\n")  # the parser's: a form feed, say, ends no line


@dataclass(frozen=True)
class Extract:
    """A piece of one document, and what it is about."""

    doc_id: str
    kind: str
    group: str
    licence: str | None
    topic: str
    text: str


def extract_all(row: Mapping[str, Any], max_chars: int) -> Iterator[Extract]:
    """Every extract of one document, in reading order."""
    pieces = _functions(row["text"]) if row["kind"] == "code" else _windows(row["text"], max_chars)
    for topic, text in pieces:
        if len(text) <= max_chars:
            yield Extract(row["doc_id"], row["kind"], row["group"], row["licence"], topic, text)


def _functions(text: str) -> Iterator[tuple[str, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler thinks of others' escapes
            tree = parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = _LINE_END.split(text)
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _is_teachable(node):
            if _foreign(node) - {name for i in imports for name in _binds(i)}:
                continue
            needed = [ast.unparse(i) for i in imports if _binds(i) & _used_in(node)]
            body = lines[node.lineno - 1 : node.end_lineno]
            head = "\n".join(needed) + "\n\n" if needed else ""
            yield node.name, head + "\n".join(body) + "\n"


def _is_teachable(node: ast.FunctionDef) -> bool:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    named = node.args.posonlyargs + node.args.args
    return (
        _FEWEST_LINES <= lines <= _MOST_LINES
        and bool(named)
        and not node.decorator_list
        and not node.name.startswith(("test", "__"))
    )


def _foreign(node: ast.FunctionDef) -> set[str]:
    """Names that must come from elsewhere. Defaults and annotations see nothing of the inside."""
    arguments = [n for n in ast.walk(node.args) if isinstance(n, ast.arg)]
    signature = [*node.args.defaults, *node.args.kw_defaults, *(a.annotation for a in arguments)]
    parts = [part for part in (node, node.returns, *signature) if part is not None]
    return {name for part in parts for name in _used_in(part) - _bound_in(part)}


def _used_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _bound_in(node: ast.AST) -> set[str]:
    """Names that mean something inside: built in, parameters, given a value, imported there."""
    bound = set(dir(builtins))
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            bound.add(inner.id)
        elif isinstance(inner, ast.arg):
            bound.add(inner.arg)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            bound |= _binds(inner)
        elif isinstance(inner, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
            bound.add(inner.name or "")
    declared = (n.names for n in ast.walk(node) if isinstance(n, ast.Global))
    return bound.difference(*declared)


def _binds(node: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(node, ast.ImportFrom) and node.level:
        return set()  # from a package of its own: elsewhere it fails
    return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}


def _windows(text: str, max_chars: int) -> Iterator[tuple[str, str]]:
    """Runs of paragraphs of at least half the budget; the topic is the first heading or words."""
    window: list[str] = []
    for paragraph in text.split("\n\n"):
        if sum(map(len, window)) + len(paragraph) > max_chars - 2 * len(window):
            if window and sum(map(len, window)) >= max_chars // 2:
                yield _topic_of(window), "\n\n".join(window)
            window = []
        window.append(paragraph)
    if sum(map(len, window)) >= 400:
        yield _topic_of(window), "\n\n".join(window)


def _topic_of(window: list[str]) -> str:
    first = next(
        (line.strip("#=*- ") for line in "\n".join(window).splitlines() if line.strip()), ""
    )
    return " ".join(first.split()[:8]) or "the extract"
