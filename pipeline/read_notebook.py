"""A Jupyter notebook as one text: its code and Markdown cells in order, its outputs left out.

For a source of code it is a script in the percent format that Jupytext and editors read: each cell
under a `# %%` line, Markdown as comments, and lines that only IPython understands (`%matplotlib`,
`!pip`) as comments too, so that the script parses. For a source of prose it is Markdown with the
code in fences. Format: https://nbformat.readthedocs.io (versions 3 and 4).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pipeline.read_record import Record, Refusal, Unusable
from pipeline.read_text import decode, read_whole
from pipeline.sources import SourceConfig, SourceFile

MAX_NOTEBOOK_BYTES = 64 << 20  # with outputs, which are mostly images
_IPYTHON_LINE = re.compile(r"^(?=[%!])", re.MULTILINE)
_FENCE = re.compile(r"^`{3,}", re.MULTILINE)


def read_notebook_file(
    source: SourceConfig, file: SourceFile, max_bytes: int
) -> Iterator[Record | Refusal]:
    """The one record of a notebook's file."""
    try:
        raw = read_whole(source, file, max(MAX_NOTEBOOK_BYTES, max_bytes))
        yield notebook_record(source, file.name, raw, max_bytes)
    except Unusable as verdict:
        yield verdict.refuse(file.name)


def notebook_record(source: SourceConfig, name: str, raw: bytes, max_bytes: int) -> Record:
    """The record of a notebook's bytes; Unusable where it has no cell with text."""
    try:
        notebook = json.loads(decode(raw, name))
        cells, language = _cells(notebook), _language(notebook)
    except (ValueError, RecursionError) as error:
        raise Unusable("bad_json", str(error)[:200] or "nested too deeply") from error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise Unusable("not_a_notebook", f"no cells as in a notebook ({error!r})") from error
    render = _as_script if source.kind == "code" else _as_markdown
    text = "\n\n".join(render(kind, body, language) for kind, body in cells) + "\n"
    if not cells:
        raise Unusable("empty", "no cell holds code or Markdown")
    try:
        size = len(text.encode())
        (language or "").encode()
    except UnicodeEncodeError as error:
        raise Unusable("lone_surrogate", str(error)) from error
    if size > max_bytes:
        raise Unusable("too_large", f"its cells have {size} bytes")
    facts = {"notebook_cells": len(cells), "notebook_language": language}
    return Record(name, text, language=language if source.kind == "code" else None, metadata=facts)


def _cells(notebook: Any) -> list[tuple[str, str]]:
    """(code or markdown, text) of the cells that hold any."""
    if "cells" in notebook:
        cells = notebook["cells"]
    else:  # version 3
        cells = [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    found = []
    for cell in cells:
        kind = cell["cell_type"]
        if kind == "heading":  # version 3
            kind, prefix = "markdown", "#" * min(max(cell.get("level", 1), 1), 6) + " "
        else:
            prefix = ""
        body = cell.get("source", cell.get("input", ""))
        text = prefix + (body if isinstance(body, str) else "".join(body))
        if kind in {"code", "markdown"} and text.strip():
            found.append((kind, text.strip("\n")))
    return found


def _language(notebook: Any) -> str | None:
    """The language that the notebook states, in lower case."""
    facts = notebook.get("metadata") or {}
    for holder, key in (("language_info", "name"), ("kernelspec", "language")):
        found = facts.get(holder)
        stated = found.get(key) if isinstance(found, dict) else None
        if isinstance(stated, str) and stated:
            return "python" if stated.lower() in {"ipython", "python3"} else stated.lower()
    return None


def _as_script(kind: str, body: str, language: str | None) -> str:
    if kind == "markdown":
        return "# %% [markdown]\n" + _commented(body)
    if body.startswith("%%"):  # the whole cell is in another language, or for IPython
        return "# %%\n" + _commented(body)
    return "# %%\n" + (_IPYTHON_LINE.sub("# ", body) if language in {"python", None} else body)


def _commented(body: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in body.split("\n"))


def _as_markdown(kind: str, body: str, language: str | None) -> str:
    if kind == "markdown":
        return body
    fence = "`" * max([3, *(len(found) + 1 for found in _FENCE.findall(body))])
    return f"{fence}{language or ''}\n{body}\n{fence}"
