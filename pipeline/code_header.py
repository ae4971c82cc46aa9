"""The comments that a program file begins with, and taking its licence notice out of them.

Licence notices stand at the top of a fifth of the shared files, and say the same in each. Taken
out are whole blocks of comments (lines without a blank line between them, or one `/* */`) that hold
a notice; the line of an interpreter, of an encoding, of an editor's mode and every other comment
stay, and so does a docstring, which is part of the program.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

HEAD_CHARS = 8_000  # the longest notices in common use, GPL with exceptions, have under 4,000
_LINE = r"(?:\#(?!\s*(?:include|define|if|ifn?def|pragma|import|region|using|undef)\b)|//|--|;|%)"
_BLOCK = r"/\*(?:.*?)\*/|<!--(?:.*?)-->"
_LEAD = re.compile(
    rf"(?:\s++|{_LINE}[^\n]*+|{_BLOCK}|[rRuUbB]?(?:\"\"\".*?\"\"\"|'''.*?'''))*+", re.S
)
_COMMENT = re.compile(rf"[ \t]*+(?:(?:{_BLOCK})[^\n]*+|(?:{_LINE}[^\n]*+(?:\n[ \t]*+|$))++)", re.S)
_NOTICE = re.compile(
    r"copyright|\(c\)\s*\d{4}|©|licen[sc]ed\s+(?:under|to\b)|SPDX-|all\s+rights\s+reserved|"
    r"permission\s+(?:is\s+hereby|to\s+use)|redistributions?\s+|licen[sc]e\s*(?:v|ver|:)|"
    r"(?:see|under)\b[^\n]{0,40}\blicen[sc]e|public\s+licen[sc]e|"
    r"(?:LICEN[SC]E|COPYING)(?:\.\w+)?\s+file|distributed\s+under|public\s+domain",
    re.I,
)
_STAYS = re.compile(
    r"\A(?:\ufeff|#![^\n]*\n|[ \t]*(?:#|//|--|;|%)[^\n]*?(?:coding[:=]|-\*-)[^\n]*\n)*"
)


class Stripped(NamedTuple):
    """N texts without their notices, and the characters that each lost."""

    texts: pa.Array
    removed_chars: list[int]


def lead_of(head: str) -> str:
    """The comments and the docstring before the first line of code."""
    start = 1 if head.startswith("\ufeff") else 0
    found = _LEAD.match(head, start)
    return head[start : found.end()] if found else ""


def strip_notice(text: str) -> str:
    """A text without the blocks of leading comments that hold a licence notice."""
    first = _STAYS.match(text)
    at = first.end() if first else 0
    kept = [text[:at]]
    while True:
        blank = at
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        found = _COMMENT.match(text, at, at + HEAD_CHARS)
        if found is None or found.end() == at:
            at = blank
            break
        if not _NOTICE.search(found[0]):
            kept.append(text[blank : found.end()])
        at = found.end()
    rest = text[at:]
    if sum(map(len, kept)) + len(rest) == len(text):
        return text
    return "".join(kept) + (rest if any(part.strip() for part in kept) else rest.lstrip("\r\n"))


def strip_notices(texts: pa.Array) -> Stripped:
    """N texts without their notices."""
    import pyarrow as pa

    before = texts.to_pylist()
    after = [text and strip_notice(text) for text in before]
    removed = [len(a or "") - len(b or "") for a, b in zip(before, after, strict=True)]
    return Stripped(pa.array(after, texts.type), removed)
