"""The fenced blocks of a Markdown text, and what each is: code, a session, an output, data, other.

CommonMark's rule of fences (spec.commonmark.org, 4.5): three or more backticks or tildes, closed
by at least as many, or by the end of the text; what stands before a fence (indentation, the marks
of a list or of a quotation) is taken off its lines. A block that were overlooked would be code that
nobody executed. A block of plain text is an output only directly below a block of Python, or below
a short line such as "Output:" there.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["python", "session", "output", "data", "other"]

_OPENED = re.compile(
    r"((?:[ \t]*(?:(?:[-*+]|\d{1,9}[.)])(?=[ \t])|>))*[ \t]*)"  # list items and quotations
    r"(`{3,}(?=[^`\n]*$)|~{3,})[ \t]*\{?\.?([\w+#-]*)"
)
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
    """All fenced blocks of a text, in order."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    code, start, place = "", 0, 0

    def add(end: int) -> None:
        assert opened is not None
        language = opened[3].lower()
        kind = _kind(language, code, found[-1] if found else None, text, start)
        found.append(Block(kind, language, code, start, end))

    for line in text.splitlines(keepends=True):
        inside = _inside(line, opened[1]) if opened else None
        if opened and (inside is None or _closes(inside, opened[2])):
            add(place if inside is None else place + len(line))
            opened = None
            if inside is None:  # the quotation ended: this line may open another block
                opened, code, start = _OPENED.match(line.rstrip("\n")), "", place
        elif opened:
            code += inside or ""
        else:
            opened, code, start = _OPENED.match(line.rstrip("\n")), "", place
        place += len(line)
    if opened:
        add(place)
    return found


def _inside(line: str, before_fence: str) -> str | None:
    """A line of a block without what stands before its fence; None outside of its quotation."""
    quotations, _, margin = before_fence.rpartition(">")
    if ">" in before_fence:
        depth = quotations.count(">") + 1
        quoted = re.match(rf"(?:[ \t]*>){{{depth}}}", line)
        if quoted is None:
            return None
        line = line[quoted.end() :]
    margin_end = re.match(rf"[ \t]{{0,{len(margin)}}}", line)
    return line[margin_end.end() :] if margin_end else line


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and set(stripped) == {fence[0]}


def _kind(language: str, code: str, before: Block | None, text: str, start: int) -> Kind:
    if language in _PYTHON | _SESSION:
        prompted = code.lstrip().startswith(">>> ")
        return "session" if prompted or (language in _SESSION and "\n>>> " in code) else "python"
    if language in _DATA:
        return "data"
    if language in _PLAIN and before is not None and before.kind == "python":
        between = text[before.end : start].strip()
        if (language and not between) or (between and _LEAD.fullmatch(between)):
            return "output"
    return "other"
