"""Markdown of a dataset card as HTML that cannot do anything.

markdown-it-py with raw HTML off: what looks like a tag comes out as text. On top of it, the tokens
are walked once: pictures are only those of the card's own manifest, links are only to the web, to a
mail address or within the page, and alignment becomes a class, for styles inline are refused.
Source: https://markdown-it-py.readthedocs.io/en/latest/security.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

LINKS = ("https://", "http://", "mailto:", "#")


def split_head(text: str) -> tuple[dict[str, Any], str]:
    """The YAML head of a card and its body; an empty head where it is none that can be read."""
    if not text.startswith("---\n"):
        return {}, text
    head, found, body = text[4:].partition("\n---\n")
    if not found:
        return {}, text
    try:
        read = yaml.safe_load(head)
    except yaml.YAMLError:
        return {}, body
    return (read if isinstance(read, dict) else {}), body


def render_markdown(text: str, picture: Callable[[str], str | None]) -> Markup:
    """Safe HTML; `picture` gives the address of a picture by its name in the card, or None."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in _all(tokens):
        _make_safe(token, picture)
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


def _make_safe(token: Token, picture: Callable[[str], str | None]) -> None:
    if token.type in {"th_open", "td_open"}:
        aligned = str(token.attrs.pop("style", ""))
        if aligned.endswith("right"):
            token.attrs["class"] = "n"
        if token.type == "th_open":
            token.attrs["scope"] = "col"
    elif token.type == "link_open":
        if str(token.attrs.get("href", "")).lower().startswith(LINKS):
            token.attrs["rel"] = "noopener noreferrer nofollow"
        else:
            token.attrs.pop("href", None)
    elif token.type == "image":
        token.meta["address"] = picture(str(token.attrs.get("src", "")))
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
