"""The constructs of Python that the stand-in's books teach, read off a function's parse tree.

They are what makes a book by rules build up: a function that loops and slices comes after one that
only loops, and its section names the slice as new and the loop as known.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

Sign = Callable[[ast.AST], bool]


def _is(*kinds: type[ast.AST]) -> Sign:
    return lambda node: isinstance(node, kinds)


def _compares(*kinds: type[ast.AST]) -> Sign:
    return lambda n: isinstance(n, ast.Compare) and any(isinstance(op, kinds) for op in n.ops)


_CONSTRUCTS: dict[str, tuple[str, Sign]] = {
    "conditional statement": ("a choice of which statements run, made by a test", _is(ast.If)),
    "for loop": ("a statement that takes the items of something one after another", _is(ast.For)),
    "while loop": ("a statement that repeats its body for as long as a test holds", _is(ast.While)),
    "method call": (
        "a call that asks a value to do something, written behind a dot",
        lambda n: isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute),
    ),
    "keyword argument": (
        "a value that is passed by the parameter's name, not by its place",
        lambda n: isinstance(n, ast.Call) and any(k.arg for k in n.keywords),
    ),
    "default value": (
        "what a parameter holds where a call leaves it out",
        lambda n: isinstance(n, ast.arguments) and bool(n.defaults or n.kw_defaults),
    ),
    "subscript": (
        "square brackets behind a value, which pick one item of it",
        lambda n: isinstance(n, ast.Subscript) and not isinstance(n.slice, ast.Slice),
    ),
    "slice": ("a pair of bounds in square brackets, which picks a run of items", _is(ast.Slice)),
    "tuple unpacking": (
        "an assignment that spreads the items of one value over several names",
        lambda n: isinstance(n, ast.Tuple) and isinstance(n.ctx, ast.Store),
    ),
    "augmented assignment": (
        "a statement that changes what a name holds, such as one with +=",
        _is(ast.AugAssign),
    ),
    "list comprehension": (
        "a list made in one expression from the items of another value",
        _is(ast.ListComp),
    ),
    "generator expression": (
        "an expression that makes its items one at a time, when they are asked for",
        _is(ast.GeneratorExp),
    ),
    "dictionary display": (
        "keys and values in curly braces, which make a dictionary",
        _is(ast.Dict, ast.DictComp),
    ),
    "conditional expression": (
        "two values of which a test between them picks one",
        _is(ast.IfExp),
    ),
    "boolean operator": ("`and` or `or`, which stop at the first answer", _is(ast.BoolOp)),
    "negation": (
        "`not` before a value, which turns its truth around",
        lambda n: isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.Not),
    ),
    "membership test": (
        "the question whether a value is among the items of another",
        _compares(ast.In, ast.NotIn),
    ),
    "identity test": (
        "the question whether two names hold the very same object",
        _compares(ast.Is, ast.IsNot),
    ),
    "exception handler": (
        "the part of a try statement that takes over when an error is raised",
        _is(ast.ExceptHandler),
    ),
    "raise statement": ("a statement that refuses to go on and names the error", _is(ast.Raise)),
    "context manager": (
        "a value that sets something up and takes it down around a block of statements",
        _is(ast.With),
    ),
    "formatted string": (
        "a string with values in curly braces, put in when it is made",
        _is(ast.JoinedStr),
    ),
    "anonymous function": ("a function without a name, made in an expression", _is(ast.Lambda)),
    "string formatting operator": (
        "the percent sign between a pattern and the values to put in",
        lambda n: (
            isinstance(n, ast.BinOp)
            and isinstance(n.op, ast.Mod)
            and isinstance(n.left, ast.Constant)
            and isinstance(n.left.value, str)
        ),
    ),
}


def meaning_of(construct: str) -> str:
    """What a construct is, in one line."""
    return _CONSTRUCTS[construct][0]


def constructs_in(node: ast.FunctionDef) -> dict[str, str]:
    """The constructs that a function uses, each with the shortest piece of it that shows one."""
    nodes = [node.args, *(inner for part in node.body for inner in ast.walk(part))]
    found: dict[str, str] = {}
    for construct, (_, is_one) in _CONSTRUCTS.items():
        shown = [_first_line(inner) for inner in nodes if is_one(inner)]
        if shown:
            found[construct] = min(shown, key=len)
    return found


def _first_line(node: ast.AST) -> str:
    return (
        ast.unparse(node).strip().splitlines()[0][:80]
        if not isinstance(node, ast.Slice)
        else (f"[{ast.unparse(node)}]")
    )
