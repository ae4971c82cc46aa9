"""The stand-in's instruction pairs: questions about code that it has run, and answers that hold.

Not an LLM: a fault is put in by changing one operator or number of the function's parse tree, and
is one only where a call was seen to give another result; tests are calls and what they returned.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline.judge_piece import without_body
from pipeline.parsing import parse
from pipeline.rubrics import disclose
from pipeline.standin_functions import Subject, sandbox, study
from pipeline.standin_narration import Narrator
from pipeline.standin_sentences import defined, reworded, sentences, telling
from pipeline.task import read_choices

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_MISTAKEN = {  # methods that are easily taken for one another
    "partition": "rpartition", "rpartition": "partition", "find": "rfind", "rfind": "find",
    "startswith": "endswith", "endswith": "startswith", "lstrip": "rstrip", "rstrip": "lstrip",
    "strip": "lstrip", "lower": "upper", "upper": "lower", "append": "extend", "items": "keys",
    "split": "partition", "splitlines": "split", "index": "find", "keys": "values",
    "values": "keys", "min": "max", "max": "min", "update": "setdefault",
}  # fmt: skip
_MOST_FAULTS = 12


def instruct(message: str) -> dict[str, Any]:
    """The answer to a question of `pipeline.instruction`. Raises ValueError without an extract."""
    extract = disclose(message)
    if extract is None:
        raise ValueError("the prompt holds no extract between markers")
    kind = read_choices(message)["kind"]
    generator = np.random.default_rng(list(hashlib.sha256(message.encode()).digest()[:16]))
    if kind in _PROSE:
        found = sentences(extract)
        return _PROSE[kind](found, generator)
    subject = study(extract)
    return _refuse(subject) if isinstance(subject, str) else _CODE[kind](subject, generator)


def _pair(user: str, assistant: str, given: str = "", check: str = "") -> dict[str, Any]:
    return {"user": user, "given": given, "assistant": assistant, "check": check, "refusal": None}


def _refuse(reason: str) -> dict[str, Any]:
    return {**_pair("", ""), "refusal": reason}


def _explain(subject: Subject, generator: np.random.Generator) -> dict[str, Any]:
    told = " ".join(list(Narrator(generator).tell(subject.node.body))[:10])
    shown = subject.worked[:3]
    calls = "\n".join(f"print({one.call})" for one in shown)
    printed = "\n".join(one.shown for one in shown)
    run = f"```python\n{subject.source.strip()}\n\n{calls}\n```\n\n```text\n{printed}\n```"
    user = Narrator(generator).one_of(
        f"What does `{subject.name}` do, and how?", "Can you walk me through this function?",
        f"I found `{subject.name}` in a code base. How does it arrive at its result?",
    )  # fmt: skip
    return _pair(user, f"{told}\n\nA run shows it:\n\n{run}\n\n{_ending(subject)}")


def _ending(subject: Subject) -> str:
    if not subject.raised:
        return f"None of the {len(subject.worked)} calls that were tried made it fail."
    one = subject.raised[0]
    return f"It does not take everything: `{one.call}` raises `{one.error}`."


def _complete(subject: Subject, generator: np.random.Generator) -> dict[str, Any]:
    given = _hollow(subject)
    if given is None:
        return _refuse("the function has no body of its own")
    told = " ".join(list(Narrator(generator).tell(subject.node.body))[:5])
    answer = f"```python\n{subject.source.strip()}\n```\n\n{told}"
    user = f"I have written the head of `{subject.name}`. Please fill in the body."
    return _pair(user, answer, given, _asserts(subject))


def _hollow(subject: Subject) -> str | None:
    """The function with its docstring, or with two of its results as one, and no body."""
    stub = without_body(subject.source)
    if stub is None:
        return None
    text = subject.documentation or f"Work out {subject.name.strip('_').replace('_', ' ')}."
    examples = [f">>> {one.call}  # prints {one.shown}" for one in subject.worked[:2]]
    tree = parse(stub)
    body = [
        ast.Expr(ast.Constant("\n    ".join([*text[:600].splitlines(), "", *examples, ""]))),
        ast.Pass(),
    ]
    next(n for n in tree.body if isinstance(n, ast.FunctionDef)).body = list[ast.stmt](body)
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _fix(subject: Subject, generator: np.random.Generator) -> dict[str, Any]:
    faults = list(_faults(subject))
    for place in generator.permutation(len(faults))[:_MOST_FAULTS]:
        right, wrong, broken = faults[place]
        failing = _first_difference(subject, broken)
        if failing is not None:
            call, wanted, got = failing
            user = (
                f"`{call}` gives me {got} here, but I expect `{wanted}`. What is wrong, and how "
                "do I mend it?"
            )
            answer = (
                f"The fault is in `{wrong}`: it has to be `{right}`. With that, the call comes "
                f"out as it should.\n\n```python\n{subject.source.strip()}\n```"
            )
            return _pair(user, answer, broken, _asserts(subject))
    return _refuse(f"no small fault in {subject.name} shows in the calls that were tried")


def _faults(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Each small change of the function: the expression before, after, and the whole source."""
    tree = parse(subject.source)
    for i, node in enumerate(ast.walk(tree)):
        changed = copy.deepcopy(tree)
        twin = list(ast.walk(changed))[i]
        if _spoil(twin):
            shown = [getattr(part, "test", part) for part in (node, twin)]
            right, wrong = (ast.unparse(part) for part in shown)
            if right != wrong and len(right) > 1 and "\n" not in right:
                yield right, wrong, ast.unparse(changed) + "\n"


def _spoil(node: Any) -> bool:
    """Put a fault into a node that has a place for one."""
    if isinstance(node, ast.Compare):
        node.ops[0] = _swap(node.ops[0])
    elif isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = _swap(node.op)
    elif isinstance(node, ast.If):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Attribute) and node.attr in _MISTAKEN:
        node.attr = _MISTAKEN[node.attr]
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1
    else:
        return False
    return True


def _swap(operator: Any) -> Any:
    return _SWAPPED.get(type(operator), type(operator))()


def _first_difference(subject: Subject, broken: str) -> tuple[str, str, str] | None:
    """The first call that the broken function answers otherwise: (call, wanted, what it gives)."""
    calls = json.dumps([one.call for one in subject.worked])
    probe = (
        f"{broken}\nimport json\n_got = []\nfor _call in {calls}:\n"
        "    try:\n        _got.append(['value', str(eval(_call))])\n"
        "    except Exception as _error:\n        _got.append(['error', type(_error).__name__])\n"
        "print(json.dumps(_got))\n"
    )
    done = sandbox().run(probe)
    if not done.ok or not done.stdout.startswith("["):
        return None
    for one, (kind, got) in zip(subject.worked, json.loads(done.stdout), strict=True):
        if (kind, got) != ("value", one.shown) and len(got) < 120 and got.isprintable():
            shown = f"`{got}`" if kind == "value" and got else f"a `{got}`" if got else "nothing"
            return one.call, one.shown, shown
    return None


def _asserts(subject: Subject) -> str:
    return "\n".join(f"assert str({one.call}) == {one.shown!r}" for one in subject.worked) + "\n"


def _test(subject: Subject, generator: np.random.Generator) -> dict[str, Any]:
    shown = len(subject.worked)
    user = Narrator(generator).one_of(
        "Write assertions for this function, please.",
        f"How would you test `{subject.name}`?", "I need a few tests before I change this code.",
    )  # fmt: skip
    raised = "".join(
        f"try:\n    {one.call}\nexcept {one.error}:\n    pass\nelse:\n"
        f"    raise AssertionError('no {one.error}')\n"
        for one in subject.raised[:2]
    )
    told = f"They pin {shown} results" + (", and what is refused." if raised else ".")
    return _pair(user, f"```python\n{_asserts(subject)}{raised}```\n\n{told}")


def _document(subject: Subject, _generator: np.random.Generator) -> dict[str, Any]:
    one = subject.worked[0]
    purpose = " ".join(subject.documentation.split()).partition(". ")[0].rstrip(".")
    words = [purpose or f"Give the {subject.name.strip('_').replace('_', ' ')} of its argument"]
    lines = [f"{words[0]}.", "", "Arguments:"]
    lines += [f"    {a.arg}: {_kind_of(a)}" for a in subject.parameters]
    lines += ["", "Returns:", f"    For `{one.call}`, what prints as `{one.shown}`."]
    lines += ["", "Raises:"] if subject.raised else []
    errors = {s.error: s.call for s in reversed(subject.raised)}
    lines += [f"    {error}: as for `{call}`." for error, call in errors.items()]
    tree = parse(subject.source)
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef))
    rest = node.body[1:] if ast.get_docstring(node) is not None else node.body
    text = "\n    ".join(lines) + "\n    "
    node.body = [ast.Expr(ast.Constant(text)), *rest]
    if not rest:
        return _refuse("the function has no body of its own")
    code = ast.unparse(ast.fix_missing_locations(tree))
    return _pair(
        f"Could you write a proper docstring for `{subject.name}`?",
        f"```python\n{code}\n```\n\nOnly the documentation is new; the statements are unchanged.",
    )


def _kind_of(parameter: ast.arg) -> str:
    return ast.unparse(parameter.annotation) if parameter.annotation else "as the calls show"


def _question(found: list[str], generator: np.random.Generator) -> dict[str, Any]:
    terms = defined(found)
    if not terms:
        return _refuse("the passage defines nothing")
    term = list(terms)[int(generator.integers(len(terms)))]
    more = [s for s in telling(found) if term.casefold() in s.casefold() and s != terms[term]]
    answer = " ".join(reworded(s) for s in [terms[term], *more[:2]])
    return _pair(f"According to this text, what should I know about {term}?", answer)


def _summarise(found: list[str], _generator: np.random.Generator) -> dict[str, Any]:
    kept = telling(found) if len(telling(found)) >= 6 else found
    if len(kept) < 6:
        return _refuse("the passage has too few sentences to leave any out")
    picked = kept[:: max(1, len(kept) // 3)][:4]
    return _pair("Sum this up in a few sentences, please.", " ".join(map(reworded, picked)))


_CODE: dict[str, Callable[[Subject, np.random.Generator], dict[str, Any]]] = {
    "explain": _explain, "complete": _complete, "fix": _fix, "test": _test, "document": _document,
}  # fmt: skip
_PROSE: dict[str, Callable[[list[str], np.random.Generator], dict[str, Any]]] = {
    "question": _question,
    "summarise": _summarise,
}
