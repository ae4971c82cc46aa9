"""The stand-in's reading of prose: whole sentences, those that explain, the terms they define.

It rewords by rules: long words give way to short ones, asides in brackets go, a sentence with a
semicolon becomes two. That is no understanding, and what it writes says so nowhere better than in
its name.
"""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_TELLING = re.compile(
    r"\b(because|therefore|so that|if|when|instead|means|is an?|are|allows?|returns?|used)\b", re.I
)
_DEFINING = re.compile(
    r"^(?:The |An? )?([A-Za-z][\w` -]{2,30}?) (?:is|are) (?:an? |the |used )\w.{15,}$"
)
_NO_TERM = re.compile(
    r"\b(this|that|these|those|it|they|there|here|which|when|if|one|each|all|some|any|many|much|"
    r"you|we|he|she|what|who|other|another|same|following|above|below|result|first|second|i)\b",
    re.I,
)
_MARKUP = re.compile(  # roles, literals, emphasis, links
    r":\w+:`([^`]*)`|``([^`]*)``|\*\*?([^*\n]+)\*\*?|"
    r"(?<!\w)_([^_\n]+)_(?!\w)|\[([^\]]+)\]\([^)]*\)"
)
_STRANGE = re.compile(r"::|[|{}<>]|`_|\]\[|https?:")  # what is left of markup and code
_ASIDE = re.compile(r"\s*\((?:[^()]|\([^()]*\))*\)(?=[\s,.;:])")
_SHORTER = {
    "utilize": "use", "utilizes": "uses", "utilized": "used", "in order to": "to",
    "approximately": "about", "subsequently": "later", "demonstrates": "shows",
    "additional": "further", "numerous": "many", "commonly": "often", "frequently": "often",
    "prior to": "before", "due to": "because of", "obtain": "get", "require": "need",
    "requires": "needs", "provides": "gives", "provide": "give", "such as": "like",
    "instead of": "in place of", "a number of": "several", "large": "big",
    "e.g.": "for example", "i.e.": "that is", "cannot": "can not", "don't": "do not",
    "doesn't": "does not", "can't": "can not", "isn't": "is not", "you can": "one can",
    "it is possible to": "one can", "you may": "one may", "for example": "for instance",
    "therefore": "so", "simply": "just", "various": "several", "entire": "whole",
}  # fmt: skip
_LONGER = re.compile(
    r"(?<![\w-])(" + "|".join(map(re.escape, sorted(_SHORTER, key=len, reverse=True))) + r")(?!\w)",
    re.I,
)


def sentences(text: str) -> list[str]:
    """The whole sentences of a text's paragraphs, 6 to 45 words, without markup."""
    paragraphs = re.split(r"\n\s*\n", re.sub(r"^#.*$|^[=~-]{3,}$", "", text, flags=re.M))
    flat = [" ".join(p.split()) for p in paragraphs if not _is_listed(p)]
    plain = [_MARKUP.sub(lambda m: next(g for g in m.groups() if g is not None), p) for p in flat]
    found = [s for p in plain for s in _END.split(p) if 6 <= len(s.split()) <= 45]
    return [
        s for s in found if s[-1] in ".!?" and s[0].isupper() and "::" not in s and "|" not in s
    ]


def telling(found: list[str]) -> list[str]:
    """The sentences that give a reason, a condition or a definition."""
    return [s for s in found if _TELLING.search(s)]


def defined(found: list[str]) -> dict[str, str]:
    """Terms that a sentence defines, and the first sentence that does."""
    terms: dict[str, str] = {}
    for s in found:
        match = _DEFINING.match(s)
        if match and not _NO_TERM.search(match[1]) and len(match[1].split()) <= 4:
            terms.setdefault(match[1].strip(), s)
    return terms


def reworded(sentence: str) -> str:
    """The sentence in shorter words, without asides, and in two where it has a semicolon."""
    short = _ASIDE.sub("", sentence)
    short = _LONGER.sub(lambda m: _like(m[1], _SHORTER[m[1].casefold()]), short)
    parts = [part.strip() for part in short.split("; ")]
    return " ".join(_closed(part[0].upper() + part[1:]) for part in parts if part)


def _closed(part: str) -> str:
    return part if part[-1] in ".!?" else part + "."


def _like(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _is_listed(paragraph: str) -> bool:
    return paragraph.startswith((" ", ">", "|", "..", "- ", "* ", "```"))
