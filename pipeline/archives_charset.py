"""Bytes of a page as text: which charset, who said so, and how many bytes it does not explain.

The order is that of browsers: a byte order mark, the HTTP header, a `meta` element in the first
2,048 bytes, and else a guess (uchardet through resiliparse, four times as fast as
charset-normalizer: benchmarks/archives.py). Names go through the table of
https://encoding.spec.whatwg.org/, so that iso-8859-1 is read as the windows-1252 that it nearly
always is, and no name reaches Python's codecs that are no charset (`punycode`, `unicode_escape`).

What is declared is often wrong. Where UTF-8 is declared and a few bytes are not UTF-8, the page is
a mix: those bytes are read as windows-1252. Where most of what is not ASCII is wrong, the guess
decides. Nothing is dropped in silence: `wrong_bytes` counts what the charset did not explain.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([a-zA-Z0-9_.:-]{1,40})", re.I)
_META_BYTES = 2_048
_MIXED_SHARE = 0.1  # of what is not ASCII; above it, the declared charset is wrong as a whole
MIXED = "utf-8 with windows-1252"


class Decoded(NamedTuple):
    """A text, its charset, who named it (`bom`, `header`, `meta`, `detected`), what is wrong."""

    text: str
    charset: str
    charset_by: str
    wrong_bytes: int


def decode(body: bytes, header: str = "") -> Decoded:
    """Decode a page; `header` is the charset of its HTTP header, empty where it names none."""
    charset, by = _declared(body, header)
    if charset is None:
        charset, by = _detect(body), "detected"
    if charset.startswith("utf-8"):
        return _decode_utf8(body.removeprefix(codecs.BOM_UTF8), by)
    text = body.decode(charset, "replace")
    return Decoded(text.lstrip("\ufeff"), charset, by, text.count("\ufffd"))


def _declared(body: bytes, header: str) -> tuple[str | None, str]:
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return charset, "bom"
    if known := _known(header):
        return known, "header"
    meta = _META.search(body, 0, _META_BYTES)
    known = _known(meta[1].decode("ascii")) if meta else None
    if known and known.startswith("utf-16"):  # an ASCII meta cannot stand in UTF-16
        known = "utf-8"
    return known, "meta"


def _known(name: str) -> str | None:
    from resiliparse.parse.encoding import map_encoding_to_html5

    if not name:
        return None
    mapped: str | None = map_encoding_to_html5(name, fallback_utf8=False)
    return mapped


def _detect(body: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    try:
        body.decode("utf-8")  # all of it, where the detector looks at a sample
    except UnicodeDecodeError:
        return str(detect_encoding(body))
    return "utf-8"


def _decode_utf8(body: bytes, by: str) -> Decoded:
    try:
        return Decoded(body.decode("utf-8"), "utf-8", by, 0)
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    beyond_ascii = sum(map(len, re.findall("[^\x00-\x7f]+", text)))
    if wrong <= _MIXED_SHARE * beyond_ascii:
        return Decoded(body.decode("utf-8", _AS_WINDOWS), MIXED, by, wrong)
    guess = _detect(body)
    if guess == "utf-8" or by == "detected":
        return Decoded(text, "utf-8", by, wrong)
    text = body.decode(guess, "replace")
    return Decoded(text, guess, "detected", text.count("\ufffd"))


_AS_WINDOWS = "primer.windows-1252"


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return wrong.decode("cp1252", "replace"), error.end


codecs.register_error(_AS_WINDOWS, _as_windows)
