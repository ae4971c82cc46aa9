"""Markdown of a dataset card as HTML that cannot do anything.

markdown-it-py with raw HTML off: what looks like a tag comes out as text. On top of it, the tokens
are walked once: pictures and files are only those of the card's own manifest, other links only lead
to the web, to a mail address or within the page, and alignment becomes a class, for styles inline
are refused.
Source: https://markdown-it-py.readthedocs.io/en/latest/security.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any
from urllib.parse import unquote

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

LINKS = ("https://", "http://", "mailto:", "#")
PICTURES = (".png",)


def split_head(text: str) -> tuple[dict[str, Any], str]:
    """The YAML head of a card and its body; an empty head where it is none that can be read."""
    if not text.startswith("---\n"):
        return {}, text
    head, found, body = text[4:].partition("\n---\n")
    if not found:
        return {}, text
    try:
        read = yaml.safe_load(head)
    except (ValueError, yaml.YAMLError):  # ValueError: a date that is none
        return {}, body
    return (read if isinstance(read, dict) else {}), body


def render_markdown(text: str, own: Callable[[str], str | None], deeper: int = 0) -> Markup:
    """Safe HTML; `own` gives the address of a file by the name that a text calls it, or None.

    With `deeper`, headings go down so many levels, to stand below those of the page.
    """
    parser = _parser()
    tokens = parser.parse(text)
    for token in _all(tokens):
        _make_safe(token, own)
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + deeper)}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704  # the point


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", _close_table)
    parser.add_render_rule("image", _show_image)
    return parser


def _all(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or ())


def _make_safe(token: Token, own: Callable[[str], str | None]) -> None:
    if token.type in {"th_open", "td_open"}:
        aligned = str(token.attrs.pop("style", ""))
        if aligned.endswith("right"):
            token.attrs["class"] = "n"
        if token.type == "th_open":
            token.attrs["scope"] = "col"
    elif token.type == "link_open":
        address = str(token.attrs.pop("href", ""))
        if address.lower().startswith(LINKS):
            token.attrs |= {"href": address, "rel": "noopener noreferrer nofollow"}
        elif (ours := own(unquote(address))) is not None:
            token.attrs["href"] = ours
    elif token.type == "image":
        name = unquote(str(token.attrs.get("src", "")))
        token.meta["address"] = own(name) if name.endswith(PICTURES) else None
        token.attrs.clear()


def _open_table(_: RendererHTML, tokens: Sequence[Token], at: int, *__: Any) -> str:
    return '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>\n'


def _close_table(*_: Any) -> str:
    return "</table></div>\n"


def _show_image(_: RendererHTML, tokens: Sequence[Token], at: int, *__: Any) -> str:
    token = tokens[at]
    address, told = token.meta.get("address"), token.content or "picture"
    if address is None:
        return str(Markup('<span class="soft">[{}]</span>').format(told))
    return f'<img src="{escape(address)}" alt="{escape(told)}" loading="lazy">'
