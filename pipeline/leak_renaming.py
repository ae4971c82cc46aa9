"""A program with every name of its own changed, and without comments, docstrings and annotations.

This is what a teacher that has seen a benchmark writes, and what a search by words does not see.
"""

from __future__ import annotations

import ast
import builtins

_WORDS = ("alpha", "beta", "gamma", "delta", "omega", "kappa", "sigma", "theta")
_KEPT = frozenset(dir(builtins)) | {"self", "cls"}


def renamed(code: str) -> str | None:
    """The renamed program, or None where the code does not parse."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return None
    names: dict[str, str] = {}
    for name in _bound(tree):
        if name not in _KEPT:
            names.setdefault(name, f"{_WORDS[len(names) % len(_WORDS)]}_{len(names)}")
    return ast.unparse(ast.fix_missing_locations(_Rename(names).visit(tree)))


def _bound(tree: ast.AST) -> list[str]:
    """The names that the program gives, in order."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.arg):
            found.append(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append(node.id)
    return found


class _Rename(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit(self, node: ast.AST) -> ast.AST:
        """Rename what the node names, and go on below it."""
        for field in ("name", "arg", "id"):
            value = getattr(node, field, None)
            if isinstance(value, str) and not isinstance(node, ast.alias):
                setattr(node, field, self.names.get(value, value))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [self.names.get(name, name) for name in node.names]
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)
