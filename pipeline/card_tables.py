"""Markdown of tables and of words that came from elsewhere: nothing in them can break the card.

Names of licences, models and benchmarks come from documents and recipes. In a cell they are text:
no column ends early, no line, no link and no HTML begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_SPECIAL = re.compile(r"([\\|\[\]])")
_BAR = re.compile(r"(?<!\\)\|")  # one that is not escaped


class Code(str):
    """A cell shown as code: a hash or a file's name of our own."""

    __slots__ = ()


def figure(value: Any) -> str:
    """A number as it is printed, the same everywhere; None is "unknown"."""
    if value is None:
        return "unknown"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def plain(value: Any) -> str:
    """A value as text that Markdown takes for nothing else."""
    if isinstance(value, Code):
        return f"`{value}`"
    text = " ".join(figure(value).split())
    return _SPECIAL.sub(r"\\\1", text).replace("<", "&lt;").replace("`", "'")


def table(head: str, rows: Iterable[Sequence[Any]]) -> str:
    """A table of which `head` names the columns, divided by bars; a colon ends a column of numbers.

    `head` is ours; the rows are escaped.
    """
    names = [name.strip() for name in head.split("|")]
    lines = [
        " | ".join(name.removesuffix(":") for name in names),
        "|".join("---:" if name.endswith(":") else "---" for name in names),
        *(" | ".join(plain(cell) for cell in row) for row in rows),
    ]
    lines = [f"|{line}|" if n == 1 else f"| {line} |" for n, line in enumerate(lines)]
    return "\n".join(lines) + "\n"


def cells_of(line: str) -> list[str]:
    """The cells of a table's row; none where a line is no row."""
    if not line.startswith("|"):
        return []
    return [cell.strip() for cell in _BAR.split(line.strip()[1:-1])]


def fenced(text: str, language: str = "text") -> str:
    """A text of the corpus in a fence longer than any that it holds."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"
