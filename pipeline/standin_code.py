"""The stand-in's rubric for code: five points read off the parse tree."""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from functools import cached_property

from pipeline.parsing import parse
from pipeline.rubrics import LEFT_OUT

Points = list[tuple[bool, str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef

_GENERATED = re.compile(r"generated (by|from|automatically)|do not edit", re.I)
_WORD = re.compile(r"[a-z]{3,}")
_BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith)


def judge_code(text: str) -> Points:
    """Whether each of the five points of docs/standin.md holds, and why."""
    tree = parse_head(text)
    if tree is None:
        return [(False, "not one statement of it can be parsed")]
    seen = _Reading(tree, text)
    points = [
        (seen.has_logic, f"{len(seen.functions)} functions, {seen.data_share:.0%} plain data"),
        (
            seen.stands_alone,
            f"{len(seen.foreign)} imports from elsewhere, {seen.scaffolds} parts of tests",
        ),
        (
            seen.is_readable,
            f"{seen.named_share:.0%} telling names, functions of {seen.median_lines:.0f} lines, "
            f"nested {seen.nesting} deep",
        ),
        (
            seen.explains,
            f"{seen.documented_share:.0%} of its parts documented in {seen.words_a_part:.0f} words",
        ),
    ]
    textbook = all(holds for holds, _ in points) and seen.shows
    return [*points, (textbook, f"{seen.examples} examples, purpose stated: {seen.has_purpose}")]


def parse_head(text: str) -> ast.Module | None:
    """The parse tree of the longest head that parses: a document may be shown cut."""
    lines = text.partition(LEFT_OUT)[0].splitlines()
    ends = [i for i, line in enumerate(lines) if line[:1].isidentifier() or line[:1] in "@\"'"]
    for end in [len(lines), *ends[:0:-1][:40]]:
        try:
            tree = parse("\n".join(lines[:end]))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return tree if tree.body else None
    return None


class _Reading:
    """What the parse tree of one document says."""

    def __init__(self, tree: ast.Module, text: str) -> None:
        self.tree, self.text = tree, text
        nodes = list(ast.walk(tree))
        self.functions = [n for n in nodes if isinstance(n, Function)]
        self.classes = [n for n in nodes if isinstance(n, ast.ClassDef)]
        self.nodes = nodes

    @cached_property
    def data_share(self) -> float:
        """Share of top-level statements that only hold data."""
        return sum(_is_data(n) for n in self.tree.body) / len(self.tree.body)

    @property
    def has_logic(self) -> bool:
        steps = sum(isinstance(n, _BLOCKS) for n in self.nodes)
        generated = _GENERATED.search(self.text[:1_000])
        return bool(self.functions) and steps >= 2 and self.data_share < 0.6 and not generated

    @cached_property
    def foreign(self) -> set[str]:
        """Modules that are imported and are not Python's own."""
        return {m for m in _imported(self.nodes) if m not in sys.stdlib_module_names}

    @cached_property
    def scaffolds(self) -> int:
        """Test functions, test classes and imports of test tools."""
        named = [*self.functions, *self.classes]
        tests = sum(n.name.lower().startswith("test") for n in named)
        return tests + sum(m in {"unittest", "test", "pytest"} for m in _imported(self.nodes))

    @property
    def stands_alone(self) -> bool:
        return not self.foreign and self.scaffolds == 0 and len(_imported(self.nodes)) <= 10

    @cached_property
    def named_share(self) -> float:
        """Share of the names given here that hold a word of three letters."""
        names = [n.name for n in [*self.functions, *self.classes]]
        names += [
            a.arg for f in self.functions for a in f.args.args if a.arg not in {"self", "cls"}
        ]
        names += [n.id for n in self.nodes if isinstance(n, ast.Name) and _is_store(n)]
        return sum(bool(_WORD.search(name.lower())) for name in names) / max(1, len(names))

    @cached_property
    def median_lines(self) -> float:
        return statistics.median([_lines(f) for f in self.functions] or [0])

    @cached_property
    def nesting(self) -> int:
        return max((_depth(f) for f in self.functions), default=0)

    @property
    def is_readable(self) -> bool:
        return self.named_share >= 0.75 and 2 <= self.median_lines <= 25 and self.nesting <= 4

    @cached_property
    def docstrings(self) -> list[str]:
        return [ast.get_docstring(n) or "" for n in self._parts()]

    def _parts(self) -> list[Function | ast.ClassDef]:
        """Functions and classes that others would call: no leading underscore."""
        return [n for n in [*self.functions, *self.classes] if not n.name.startswith("_")]

    @cached_property
    def documented_share(self) -> float:
        return sum(bool(d) for d in self.docstrings) / max(1, len(self.docstrings))

    @cached_property
    def words_a_part(self) -> float:
        return statistics.mean([len(d.split()) for d in self.docstrings if d] or [0])

    @property
    def explains(self) -> bool:
        return self.documented_share >= 0.5 and self.words_a_part >= 10

    @cached_property
    def examples(self) -> int:
        """Examples shown in documentation."""
        texts = [*self.docstrings, ast.get_docstring(self.tree) or ""]
        return sum(t.count(">>>") + t.lower().count("example") for t in texts)

    @property
    def has_purpose(self) -> bool:
        return len((ast.get_docstring(self.tree) or "").split()) >= 12

    @property
    def shows(self) -> bool:
        return self.has_purpose or self.examples > 0


def _is_data(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and not isinstance(node.value.value, str)
    literals = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set)
    return isinstance(node, ast.Assign) and isinstance(node.value, literals)


def _is_store(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _imported(nodes: list[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").partition(".")[0])
    return found


def _lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _depth(node: ast.AST) -> int:
    """How deep blocks stand in one another."""
    return max((_depth(n) + isinstance(n, _BLOCKS) for n in _children(node)), default=0)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The statements in a node, and what holds statements; expressions hold no blocks."""
    pending = [node]
    while pending:
        holder = pending.pop()
        # an `elif` stands in the else of its `if`, and is no deeper for a reader
        chained = holder.orelse if isinstance(holder, ast.If) and len(holder.orelse) == 1 else []
        for child in ast.iter_child_nodes(holder):
            if isinstance(child, ast.If) and child in chained:
                pending.append(child)
            elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
                yield child
