"""Python's parser, one thread at a time.

CPython before 3.13 counts how deep a tree is per interpreter and not per thread, so two threads
that parse at once can fail with "SystemError: AST constructor recursion depth mismatch"
(https://github.com/python/cpython/issues/106905). Drafts are judged side by side, and the stand-in
answers side by side, so both parse through this.
"""

from __future__ import annotations

import ast
import threading
from typing import Any

_ONE_AT_A_TIME = threading.Lock()


def parse(source: str) -> ast.Module:
    """`ast.parse`, with its errors: SyntaxError, ValueError, RecursionError, MemoryError."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)


def read_literal(source: str) -> Any:
    """`ast.literal_eval`, with its errors: SyntaxError, ValueError and those of `parse`."""
    with _ONE_AT_A_TIME:
        return ast.literal_eval(source)
