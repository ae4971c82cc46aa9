"""What the stand-in's writer knows about a function: it has really called it.

The function of an extract is parsed, calls are taken from the examples in its documentation or
worked out from the names of its parameters, and all of them are executed in the sandbox. What is
kept is what was printed or raised; a function of which nothing was seen is nothing to teach.
"""

from __future__ import annotations

import ast
import doctest
import functools
import json
import sys
from dataclasses import dataclass
from typing import Any

from pipeline.parsing import parse
from pipeline.sandbox import Sandbox, SandboxConfig

_VALUES = {
    ("path", "file", "name", "url", "dir"): [
        "'docs/readme.txt'", "'archive.tar.gz'", "'/usr/lib/'", "''", "'a/../b'",
    ],
    ("str", "text", "line", "word", "msg", "prefix", "pattern", "key", "title", "char", "sep"): [
        "'hello world'", "'One, two; three'", "'5 &lt; 7%21'", "'a-b_c'", "'42'", "''",
    ],
    ("num", "count", "size", "width", "len", "int", "index", "start", "stop", "year", "day", "pos",
     "month", "level", "max", "min", "total", "offset", "bits"): ["3", "10", "0", "-2", "2024"],
    ("seq", "list", "items", "iter", "lst", "data", "values", "args", "arr", "elements", "heap"): [
        "[3, 1, 2]", "[]", "['pear', 'fig']", "(1, 2, 2)", "[5]",
    ],
    ("dict", "map", "table", "env", "opts"): ["{'a': 1}", "{}", "{'x': [1, 2], 'y': []}"],
    ("func", "fn", "key_func", "callback", "pred"): ["len", "str", "abs"],
}  # fmt: skip
_UNKNOWN = [
    "5",
    "'abc'",
    "[1, 2, 3]",
    "2.5",
    "('x', 'y')",
    "0",
    "'12'",
    "[]",
    "b'ab'",
    "-7",
    "{'k': 1}",
]
_MOST_CALLS = 14
_MOST_OUTPUT = 160

_PROBE = """
import contextlib, io, json, sys
def _see(call):
    held = io.StringIO()
    try:
        with contextlib.redirect_stdout(held):
            value = eval(call)
        return "value", str(value), held.getvalue()
    except Exception as error:
        return type(error).__name__, str(error), held.getvalue()
_seen = [[call, *_see(call)] for call in {calls}]
sys.stdout.write(json.dumps(_seen))
"""

_TRACE = """
import json, sys
_steps, _last = [], {{}}
def _watch(frame, event, arg):
    if frame.f_code.co_name != {name!r} or frame.f_code.co_filename != "<subject>":
        return None
    shown = {{k: repr(v)[:60] for k, v in frame.f_locals.items()}}
    changed = {{k: v for k, v in shown.items() if _last.get(k) != v}}
    if changed and len(_steps) < 16:
        _steps.append([frame.f_lineno, changed])
    _last.update(shown)
    return _watch
_scope = {{}}
exec(compile({source!r}, "<subject>", "exec"), _scope)
sys.settrace(_watch)
eval({call!r}, _scope)
sys.settrace(None)
sys.stdout.write(json.dumps(_steps))
"""


@dataclass(frozen=True)
class Seen:
    """One call and what came of it: what `print` shows of its value, or the error it raised."""

    call: str
    error: str | None
    shown: str


@dataclass(frozen=True)
class Subject:
    """A function with the calls that worked and those that raised."""

    node: ast.FunctionDef
    source: str
    worked: list[Seen]
    raised: list[Seen]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.node.name

    @property
    def parameters(self) -> list[ast.arg]:
        """The parameters that a call gives by place."""
        return [*self.node.args.posonlyargs, *self.node.args.args]

    @property
    def documentation(self) -> str:
        """The docstring's prose, without examples."""
        text = ast.get_docstring(self.node) or ""
        return "\n".join(line for line in text.partition(">>>")[0].splitlines()).strip()


@functools.cache
def sandbox() -> Sandbox:
    """The stand-in's own sandbox: small limits, for it probes what it does not know."""
    return Sandbox("stand-in", SandboxConfig(cpu_seconds=2, wall_seconds=4, memory_mib=256))


@functools.lru_cache(maxsize=4_096)
def study(extract: str) -> Subject | str:
    """The first function of an extract, called and seen; or why it teaches nothing."""
    try:
        tree = parse(extract)
    except (SyntaxError, ValueError, RecursionError):
        return "the extract does not parse"
    node = next((n for n in tree.body if isinstance(n, ast.FunctionDef)), None)
    if node is None:
        return "the extract has no function"
    source = extract.strip() + "\n"
    seen = _observe(source, _calls(node))
    worked = _distinct([s for s in seen if s.error is None and s.shown not in {"", "None"}])
    raised = _distinct([s for s in seen if s.error is not None and s.error != "NameError"])
    telling = [s for s in worked if s.shown not in s.call]
    if len(worked) < 2 or not telling:
        return f"calls of {node.name} show nothing by themselves"
    worked = telling + [s for s in worked if s not in telling]
    return Subject(node, source, worked, raised)


def trace(subject: Subject, call: str) -> list[tuple[int, dict[str, str]]]:
    """How names change while a call runs: (line of the source, changed names and values)."""
    code = _TRACE.format(name=subject.name, source=subject.source, call=call)
    done = sandbox().run(code)
    steps: list[tuple[int, dict[str, str]]] = []
    if done.ok:
        steps = [(line, changed) for line, changed in json.loads(done.stdout)]
    return steps if all(_is_stable(v) for _, c in steps for v in c.values()) else []


def _observe(source: str, calls: list[str]) -> list[Seen]:
    done = sandbox().run(source + _PROBE.format(calls=json.dumps(calls)))
    try:
        rows: list[list[Any]] = json.loads(done.stdout) if done.ok else []
    except ValueError:
        return []
    found = []
    for call, kind, shown, printed in rows:
        stable = _is_stable(shown) and not printed
        if stable and len(shown) <= _MOST_OUTPUT and shown.isprintable():
            found.append(Seen(call, None if kind == "value" else kind, shown))
    return found


def _is_stable(shown: str) -> bool:
    """Whether it will be the same next time and elsewhere: a value, no address, no place here."""
    return not any(mark in shown for mark in (" at 0x", "<generator", "<function", sys.base_prefix))


def _distinct(seen: list[Seen]) -> list[Seen]:
    """Calls that differ in what they show, first come first."""
    found: dict[tuple[str | None, str], Seen] = {}
    for one in seen:
        found.setdefault((one.error, one.shown), one)
    return list(found.values())[:6]


def _calls(node: ast.FunctionDef) -> list[str]:
    shown = []
    try:
        for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
            call = example.source.strip()
            if call.startswith(f"{node.name}(") and "\n" not in call:
                shown.append(call)
    except ValueError:
        pass  # examples that doctest cannot read are no examples
    required = [*node.args.posonlyargs, *node.args.args]
    required = required[: len(required) - len(node.args.defaults)]
    width = max([len(_choices(a)) for a in required], default=1)
    probes = []
    for turn in range(width):
        values = [
            _choices(a)[(turn + 2 * place if len(_choices(a)) == len(_UNKNOWN) else turn)
                        % len(_choices(a))]
            for place, a in enumerate(required)
        ]  # fmt: skip
        probes.append(f"{node.name}({', '.join(values)})")
    return list(dict.fromkeys([*shown, *probes]))[:_MOST_CALLS]


def _choices(parameter: ast.arg) -> list[str]:
    words = (
        parameter.arg.lower()
        + " "
        + (ast.unparse(parameter.annotation).lower() if parameter.annotation else "")
    )
    for hints, values in _VALUES.items():
        if any(hint in words for hint in hints):
            return values
    short = {"s": 1, "n": 2, "i": 2, "k": 2, "m": 2}.get(parameter.arg)
    return list(_VALUES.values())[short] if short else _UNKNOWN
