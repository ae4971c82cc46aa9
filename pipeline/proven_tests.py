"""Tests that prove what they did: that they came to their last line, and that they can fail.

An exit code of 0 says little of code that nobody has read. A solution that ends the process in the
first call (`os._exit(0)`, `sys.exit()`, a hook at the end) leaves the same code as tests that
passed, and so do assertions that were never reached. Therefore the tests are rewritten:

- their last line writes a word drawn for this run, and how many assertions passed, straight to the
  descriptor of standard output: without that word the tests did not end;
- in a second way, `turned`, every assertion states what is false (`== object()`, or `not ...`).
  Code that passes these as well has not run them, or hands back what is equal to everything.

A solution lives in one process with its tests, so it could look at its callers for what they
expect. `find_look_around` finds the names by which that is done; a name put together at run time
(`getattr`) is not found.

What it costs: one run of the sandbox for each way.
"""

from __future__ import annotations

import ast
import re
import secrets
from typing import NamedTuple

from pipeline.parsing import parse
from pipeline.sandbox import Execution, Sandbox

UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)

_WORD = "WORD_OF_THIS_RUN"
_BEGIN = f"_passed_{_WORD} = set()"
_END = f"__import__('os').write(1, f'{_WORD}:{{len(_passed_{_WORD})}};'.encode())"
_MODULES_THAT_LOOK = {"inspect", "gc", "ctypes"}
_LOOKING = {"_getframe", "_current_frames", "f_back", "f_code", "f_globals", "f_locals", "tb_frame",
            "gi_frame", "cr_frame", "ag_frame", "co_consts", "settrace", "setprofile",
            "_exit"}  # fmt: skip


class Tested(NamedTuple):
    """A run of tests. `passed`: how many different assertions passed, None without an end."""

    done: Execution
    passed: int | None

    @property
    def ok(self) -> bool:
        """Whether nothing failed and the last line was reached."""
        return self.done.ok and self.passed is not None


class ProvenTests(NamedTuple):
    """Tests rewritten by `prove`."""

    source: str

    def run(self, code: str, sandbox: Sandbox) -> Tested:
        """Run them below some code."""
        word = secrets.token_hex(16)
        done = sandbox.run(f"{code}\n{self.source.replace(_WORD, word)}")
        end = re.search(rf"{word}:(\d+);", done.stdout)
        return Tested(done, int(end[1]) if end else None)


def prove(tests: str, *, turned: bool = False) -> ProvenTests:
    """Rewrite tests so that they prove their end; `turned`: so that they must fail.

    Functions named `test...` that nothing calls are called. Raises what `UNPARSABLE` lists.
    """
    tree = _Rewritten(turned).visit(parse(tests))
    tree.body = [node for node in tree.body if not _is_of_the_future(node)]
    lines = [_BEGIN, ast.unparse(ast.fix_missing_locations(tree)), *_calls(tree), _END]
    return ProvenTests("\n".join(lines))


def find_look_around(solution: str) -> str | None:
    """The first name in a solution by which code sees its callers or ends the process unseen."""
    for node in ast.walk(parse(solution)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found = {name.partition(".")[0] for name in names} & (_MODULES_THAT_LOOK | _LOOKING)
        else:
            words = {getattr(node, field, None) for field in ("id", "attr", "value")}
            found = {word for word in words if isinstance(word, str)} & _LOOKING
        if found:
            return str(found.pop())
    return None


class _Rewritten(ast.NodeTransformer):
    def __init__(self, turned: bool) -> None:
        self._turned, self._count = turned, 0

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        if self._turned:
            node.test = _turn(node.test)
        self._count += 1
        return [node, *parse(f"_passed_{_WORD}.add({self._count})").body]


def _turn(test: ast.expr) -> ast.expr:
    """What is false where `test` is true, and false as well for what equals everything."""
    if isinstance(test, ast.Compare) and [type(op) for op in test.ops] == [ast.Eq]:
        unlike = ast.Call(ast.Name("object", ast.Load()), [], [])
        if any(isinstance(part, ast.Name | ast.Call) for part in ast.walk(test.left)):
            test.comparators = [unlike]
        else:  # the expected value stands first
            test.left = unlike
        return test
    return ast.UnaryOp(ast.Not(), test)


def _is_of_the_future(node: ast.stmt) -> bool:
    """Such an import must be a file's first statement, and the solution stands before it."""
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _calls(tree: ast.Module) -> list[str]:
    """Calls of the test functions that only a test runner would have called."""
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    names = [f.name for f in functions if f.name.startswith("test") and not ast.unparse(f.args)]
    return [f"{name}()" for name in names if name not in called]
