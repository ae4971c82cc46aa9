"""The stand-in's rewriting of a page: four manners of saying its sentences again, by rules.

Not an LLM: it selects sentences, rewords them (`pipeline.standin_sentences`) and puts them in an
order and a frame that the manner asks for. A page that explains too little is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipeline.rubrics import disclose
from pipeline.standin_sentences import defined, reworded, sentences, telling
from pipeline.task import read_choices

_FEWEST = 5  # sentences, for a page that is worth rewriting
_MOST = 24
_IF = re.compile(r"^(If|When) ([^,]{8,90}), (.{15,})$")
_SINCE = re.compile(r"^([A-Z][^,;]{12,90}?),? since (.{12,})$")


def rephrase(message: str) -> dict[str, Any]:
    """The answer to a question of `pipeline.rephrase`. Raises ValueError without a page."""
    page = disclose(message)
    if page is None:
        raise ValueError("the prompt holds no page between markers")
    found = list(dict.fromkeys(sentences(page)))
    kept = telling(found)
    kept = (kept if len(kept) >= _FEWEST else found)[:_MOST]
    terms = defined(found)
    if len(kept) < _FEWEST:
        return {"title": "", "text": "", "refusal": "the page has too few whole sentences"}
    write = _MANNERS.get(read_choices(message)["manner"], _textbook)
    title = next(iter(terms), " ".join(found[0].split()[:6])).strip("` .,")[:150]
    return {"title": title, "text": write(title, kept, terms).strip() + "\n", "refusal": None}


def _textbook(title: str, kept: list[str], terms: dict[str, str]) -> str:
    meanings = list(terms.values())[:6]
    rest = [reworded(s) for s in kept if s not in meanings]
    paragraphs = [" ".join(rest[i : i + 3]) for i in range(0, len(rest), 3)]
    told = [f"To read on, a few words are needed. {_bold(terms)}"] if meanings else []
    last = f"Keep in mind: {rest[-1][0].lower()}{rest[-1][1:]}" if rest else ""
    return "\n\n".join([f"# {title}", *told, *paragraphs[: 1 + len(paragraphs) * 2 // 3], last])


def _questions(title: str, kept: list[str], terms: dict[str, str]) -> str:
    blocks = [f"# Questions on {title}"]
    for term, meaning in list(terms.items())[:6]:
        blocks.append(f"### What is meant by {term}?\n\n{reworded(meaning)}")
    for sentence in kept:
        plain = reworded(sentence)
        if match := _IF.match(plain):
            blocks.append(f"### What happens {match[1].lower()} {match[2]}?\n\nThen {match[3]}")
        elif match := _SINCE.match(plain):
            blocks.append(f"### Why is this so: {match[1]}?\n\nThe reason is that {match[2]}")
    asked = " ".join(blocks)
    rest = [s for s in map(reworded, kept) if s[20:60] not in asked]
    blocks.append("### What else should be known?\n\n" + " ".join(rest[:6]))
    return "\n\n".join(blocks)


def _facts(title: str, kept: list[str], _terms: dict[str, str]) -> str:
    whole = [s for s in kept if not re.match(r"(It|They|This|That|These|Those|But|And|So)\b", s)]
    return f"# Facts about {title}\n\n" + "\n".join(f"- {reworded(s)}" for s in whole or kept)


def _article(title: str, kept: list[str], terms: dict[str, str]) -> str:
    first = next(iter(terms.values()), kept[0])
    rest = [_impersonal(reworded(s)) for s in kept if s != first]
    half = len(rest) // 2
    return "\n\n".join(
        [f"# {title}", _impersonal(reworded(first)), "## Description", " ".join(rest[:half]),
         "## Further properties", " ".join(rest[half : half + half // 2 + 1])]
    )  # fmt: skip


_MANNERS: dict[str, Callable[[str, list[str], dict[str, str]], str]] = {
    "textbook": _textbook,
    "question and answer": _questions,
    "distilled facts": _facts,
    "wikipedia-like": _article,
}


def _bold(terms: dict[str, str]) -> str:
    told = []
    for term, meaning in list(terms.items())[:6]:
        told.append(reworded(meaning).replace(term, f"**{term}**", 1))
    return " ".join(told)


def _impersonal(sentence: str) -> str:
    return re.sub(r"\b[Yy]our\b", "one's", re.sub(r"\b[Yy]ou\b", "one", sentence))
