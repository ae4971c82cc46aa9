"""The fenced blocks of a Markdown text, and what each is: code, a session, an output, data, other.

CommonMark's rule of fences (spec.commonmark.org, 4.5): three or more backticks or tildes, closed
by at least as many; an indented fence takes its indentation off its lines. A block of plain text is
an output only directly below a block of Python, or below a short line such as "Output:" there.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["python", "session", "output", "data", "other"]

_OPENED = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*\{?\.?([\w+#-]*)[^`\n]*$")
_PYTHON = {"python", "py", "python3"}
_SESSION = {"pycon", "python-repl", "python-console", "doctest"}
_PLAIN = {"", "text", "txt", "output", "out", "plaintext", "console", "none"}
_DATA = {"json", "yaml", "yml", "toml"}
_LEAD = re.compile(r"(?:[\w']+ ){0,4}\**(?:outputs?|prints?|printed|result)\**:\**", re.I)


class Block(NamedTuple):
    """A block; `start` and `end` are the places of its fences in the text."""

    kind: Kind
    language: str
    code: str
    start: int
    end: int


def read_blocks(text: str) -> list[Block]:
    """All closed fenced blocks of a text, in order."""
    found: list[Block] = []
    opened: tuple[str, str, str, int] | None = None
    lines: list[str] = []
    place = 0
    for line in text.splitlines(keepends=True):
        if opened is None:
            fence = _OPENED.match(line.rstrip("\n"))
            if fence:
                opened, lines = (fence[1], fence[2], fence[3].lower(), place), []
        elif _closes(line, opened[1]):
            indent, _, language, start = opened
            code = "".join(ln.removeprefix(indent) if indent else ln for ln in lines)
            kind = _kind(language, code, found[-1] if found else None, text, start)
            found.append(Block(kind, language, code, start, place + len(line)))
            opened = None
        else:
            lines.append(line)
        place += len(line)
    return found


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and set(stripped) == {fence[0]}


def _kind(language: str, code: str, before: Block | None, text: str, start: int) -> Kind:
    if language in _SESSION or (language in _PYTHON and code.lstrip().startswith(">>> ")):
        return "session"
    if language in _PYTHON:
        return "python"
    if language in _DATA:
        return "data"
    if language in _PLAIN and before is not None and before.kind == "python":
        between = text[before.end : start].strip()
        if (language and not between) or (between and _LEAD.fullmatch(between)):
            return "output"
    return "other"
