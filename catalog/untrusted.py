"""Text of the corpus on a page: escaped, cut, and nothing hidden in it.

Escaping makes markup harmless, but not a character that a reader cannot see: one that turns the
direction of a line can make code read as what it is not, and a control character may stand for
nothing at all. Each is shown as a mark with its code point.
Source: Boucher and Anderson, "Trojan Source" (2021), https://trojansource.codes ; Unicode Standard
Annex 9 (bidirectional algorithm).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from markupsafe import Markup, escape

# C0 and C1 controls but tab and newline; soft hyphen; Arabic letter mark; zero width and marks of
# direction; embeddings, overrides, isolates and invisible operators; line separators; the byte
# order mark and interlinear annotation; tags; and halves of pairs, which UTF-8 cannot say.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_LINE_ENDS = re.compile("\r\n?")


def shown(text: str | None, marked: Iterable[tuple[int, int]] = ()) -> Markup:
    """The text as HTML; `marked` are the spans (start, end), in order and apart, to stand out."""
    if text is None:
        return Markup("")
    parts, at = [], 0
    for start, end in marked:
        parts += [_plain(text[at:start]), Markup("<mark>{}</mark>").format(_plain(text[start:end]))]
        at = end
    return Markup("").join([*parts, _plain(text[at:])])


def one_line(text: str | None) -> Markup:
    """A name or an address from the corpus as HTML, on one line."""
    return _plain(" ".join((text or "").split()))


def _plain(text: str) -> Markup:
    text = _LINE_ENDS.sub("\n", text)
    parts, at = [], 0
    for found in _HIDDEN.finditer(text):
        parts += [escape(text[at : found.start()]), _mark(found[0])]
        at = found.end()
    return Markup("").join([*parts, escape(text[at:])])


@cache
def _mark(char: str) -> Markup:
    code = f"U+{ord(char):04X}"
    name = unicodedata.name(char, "control character").lower()
    return Markup('<span class="hidden-char" title="{}">{}</span>').format(name, code)
