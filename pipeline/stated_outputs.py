"""What a text says that its code prints: in comments beside it, and in the sentence below it.

Only what cannot be meant otherwise is taken for a statement:

- a comment after a `print(...)` or a bare expression that stands by itself on the top level
  (or under `if __name__ == "__main__"`), marked with `prints`, `->`, `=>` or `output:` and
  beginning like a value, or unmarked and a whole literal: `print(x)  # 3`;
- "prints `3`", "It prints 3." as the first words of the paragraph below a block.

Comments are compared in a run of their own, of the code with marks around what each statement with
a claim prints, so that the run whose output is shown stays as it was written. A comment that
explains, or sums up several lines, is no statement; docs/sandbox.md says how often real code is
misread.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import Any, NamedTuple

from pipeline.parsing import parse, read_literal

_OPEN, _BETWEEN, _SHUT = "\x1e", "\x1d", "\x1f"  # ASCII's separators: no text for people has them
_PRINTED = re.compile(f"{_OPEN}(\\d+):([^{_BETWEEN}]*){_BETWEEN}([^{_SHUT}]*){_SHUT}")
_MARKED = re.compile(r"#\s*(?:prints:?\s|outputs?:?\s|->|=>|→|⇒)\s*(.+)", re.I)
_LIKE_A_VALUE = re.compile(r"`|['\"\[({]|[-+]?\d|True\b|False\b|None\b")
_SENTENCE = re.compile(
    r"\s*(?:this|it|that|the (?:code|program|script|block|call|example)(?: above)?)?\s*"
    r"(?:prints|outputs|displays)\s+(?:`([^`\n]+)`|([-+]?\d+(?:\.\d+)?)(?=[.,;]?\s))",
    re.I,
)
ADDRESS = r"(?<= at )0x[0-9a-fA-F]+"
_LONGEST_LITERAL = 3_000  # Python writes no number of more than 4,300 digits
_WRITE = "__import__('sys').stdout.write"


class Claim(NamedTuple):
    """What a comment says of the statement that begins on a line of the code."""

    line: int
    expected: str


def mark_claims(code: str) -> tuple[str, list[Claim]]:
    """The code with marks around its commented statements, and what the comments claim."""
    claims = []
    try:
        comments = _comments(code)
        tree = parse(code)
        for body in _bodies(tree):
            for i in reversed(range(len(body))):
                node = body[i]
                expected = _claim(comments.get(node.end_lineno or 0, ""))
                if isinstance(node, ast.Expr) and expected is not None:
                    claims.append(Claim(node.lineno, expected))
                    body[i : i + 1] = _marked(node)
        return ast.unparse(ast.fix_missing_locations(tree)) if claims else "", sorted(claims)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return "", []


def find_wrong_claim(claims: list[Claim], stdout: str) -> tuple[int, Claim | None]:
    """How many claims could be compared, and the first that is wrong."""
    compared = 0
    for line, printed, value in _PRINTED.findall(stdout):
        for claim in claims:
            if claim.line != int(line):
                continue
            verdicts = [agrees(claim.expected, printed), agrees(claim.expected, value)]
            if not printed.strip() and value == "None" and True not in verdicts:
                continue  # it returns and prints nothing: the comment means something else
            compared += True in verdicts or False in verdicts
            if True not in verdicts and False in verdicts:
                return compared, claim
    return compared, None


def echo_last_value(code: str) -> str:
    """The code with its last expression shown as a notebook shows it; itself without one."""
    try:
        tree = parse(code)
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            return code
        (shown,) = parse("__import__('sys').displayhook").body
        assert isinstance(shown, ast.Expr)
        last.value = ast.Call(shown.value, [last.value], [])
        return ast.unparse(ast.fix_missing_locations(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code


def stated_below(text: str, end: int) -> str | None:
    """What the sentence directly below a block says that it prints."""
    found = _SENTENCE.match(text[end : end + 300])
    return (found[1] or found[2]) if found else None


def agrees(expected: str, printed: str) -> bool | None:
    """Whether a claim is what was printed; None where they cannot be compared."""
    expected, printed = expected.strip().strip("`"), printed.strip()
    if not printed or not expected:
        return None
    begins = re.match(re.escape(printed) + r"(?![\w.])", expected)  # "3, because ..."
    if begins or _same(expected, printed):
        return True
    return None if "\n" in printed or "..." in expected or "…" in expected else False


def without_addresses(text: str) -> str:
    """The text with the addresses of objects made alike: they differ from run to run."""
    return re.sub(ADDRESS, "0x...", text)


def _same(expected: str, printed: str) -> bool:
    if " ".join(expected.split()) == " ".join(printed.split()):
        return True
    one, other = _value(expected), _value(printed)
    if one is None:
        return False
    if isinstance(one, float) and isinstance(other, float):  # "3.14" of 3.14159
        return round(other, len(expected.partition(".")[2])) == one
    return str(one) == printed or (type(one) is type(other) and bool(one == other))


def _value(text: str) -> Any:
    """The literal that a text is; None for None, and for what is no literal of a sane size."""
    try:
        return read_literal(text) if len(text) <= _LONGEST_LITERAL else None
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None


def _claim(comment: str) -> str | None:
    marked = _MARKED.fullmatch(comment)
    if marked:
        return marked[1] if _LIKE_A_VALUE.match(marked[1]) else None
    whole = comment.lstrip("#").strip()
    return whole if whole and _value(whole) is not None else None


def _comments(code: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {
        token.start[0]: token.string.strip()
        for token in tokens
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    }


def _bodies(tree: ast.Module) -> list[list[ast.stmt]]:
    """The lists of statements that run once: the top level, and what is under the main guard."""
    main = "__name__ == '__main__'"
    guarded = [n.body for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == main]
    return [tree.body, *guarded]


def _marked(node: ast.Expr) -> list[ast.stmt]:
    """The statement between marks, and what it is worth between the last two."""
    opened = f"{_WRITE}({_OPEN + str(node.lineno) + ':'!r})"
    name = f"_value_{node.lineno}"
    keep = ast.Assign([ast.Name(name, ast.Store())], node.value)
    shown = parse(f"{_WRITE}({_BETWEEN!r} + repr({name}) + {_SHUT!r})").body
    return [*parse(opened).body, keep, *shown]
