"""What is wrong with a written text that can be seen without running it.

Reasons stand in the order in which they are looked for, and each comes with its evidence. Fenced
code is left out of whatever is about prose: code repeats itself, and ends as it likes.

English is known by its function words: other languages have few of them, so no model is needed,
but which other language it is, is not told. How often each reason is given to good human text:
docs/diversity.md, by `python -m benchmarks.good_texts`.

What it costs: some 3 ms for 500 words, mostly counting repeated runs.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydantic import Field

from pipeline.config import Section
from pipeline.phrases import CHAT_MARKS, ENGLISH, OPENERS, PROMPT_MARKS, REFUSALS
from pipeline.repetition import find_repetition

Flaw = tuple[str, str]  # reason, evidence
REASONS = ("too_short", "chat_markers", "refusal", "leaked_prompt", "banned_opener",
           "wrong_language", "repeats_itself", "truncated")  # fmt: skip


class FlawsConfig(Section):
    """What a text may not be."""

    min_chars: int = Field(
        300, ge=1, le=100_000, description="Characters of a text at least, code and all."
    )
    banned_openers: tuple[str, ...] = Field(
        (), description="Beginnings, in any case, that are banned beside the built-in ones."
    )
    max_prompt_words: int = Field(
        11, ge=5, le=100, description="Words of the instructions that a text may hold in a run."
    )
    unexecuted_code: bool = Field(
        True, description="Whether code in languages that are not executed may stand in it."
    )
    min_english_share: float = Field(
        0.15, ge=0, lt=1, description="English function words among the words of prose at least."
    )


_DEFAULT = FlawsConfig()
_BLOCK = re.compile(r"^(`{3,}|~{3,})[^\n`]*\n.*?^\1[`~]*[ \t]*$", re.M | re.S)
_FENCE = re.compile(r"^(?:`{3,}|~{3,})", re.M)
_CODE_LINE = re.compile(  # indented code, tables, examples, link targets and directives
    r"^(?: {4}|\t|[ \t]*(?:[|:<>+]|\.\. )|\[[^\]\n]+\]: ).*$", re.M
)
_INLINE = re.compile(r"`[^`\n]+`|https?://\S+|\$[^$\n]+\$")
_MARKUP = re.compile(r"\s*(?:\[[^\]]+\]: \S+|[-:=~*_/]{3,}.*|\.\. .*|:\w+:.*|<[^>]+>)?\s*")
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_EXTRACT = re.compile(r"<document ([0-9a-f]{16})>.*?</document \1>", re.S)
_REFUSED = re.compile("|".join(REFUSALS), re.I)
_CHAT = re.compile("|".join(CHAT_MARKS), re.M)
_ENGLISH = re.compile(ENGLISH, re.I)
_MARKED = re.compile("|".join(PROMPT_MARKS), re.M)
_LEAD = re.compile(r"^(?:\s|[#*_>\"“-])+")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d+[.)]|[a-zA-Z][.)]|\|)\s?")
_CLOSED = re.compile(r"""[.!?…](?:\s*[^\w\s])*$|[)\]`|>*_}"”»$]$""")  # an emoji may follow
_DANGLING = re.compile(
    r"(?:[,(\[{=+/–—-]|\b(?:and|or|the|an?|of|to|in|with|for|that|which|is|are|by|from|as|but))$"
)
_LEAST_WORDS = 40  # of prose, before anything is said of its language
_LEAST_LETTERS = 100
_MAX_FOREIGN_LETTERS = 0.3
_LEAST_LINE_LETTERS = 10  # shorter lines are marks and headings, which return


def find_flaw(text: str, prompt: str = "", config: FlawsConfig = _DEFAULT) -> Flaw | None:
    """The first flaw and its evidence; None for a text without any.

    `prompt` is the whole text of the messages; extracts between document markers are left out.
    """
    unfenced, prose, plain = layers_of(text)
    if len(text) < config.min_chars:
        return "too_short", f"{len(text)} characters, {config.min_chars} are asked for"
    for reason, pattern in (("chat_markers", _CHAT), ("refusal", _REFUSED)):
        found = pattern.search(unfenced)
        if found:
            return reason, found[0].strip()[:200]
    return (
        _leaked(text, prompt, config.max_prompt_words)
        or _opener(text, config.banned_openers)
        or _language(plain, config.min_english_share)
        or _repetition(prose, plain)
        or _truncated(text, unfenced)
    )


def layers_of(text: str) -> tuple[str, str, str]:
    """The text without fenced code; that without code, tables and directives; that without `x`."""
    unfenced = _BLOCK.sub("\n", text)
    prose = _CODE_LINE.sub("", unfenced)
    return unfenced, prose, _INLINE.sub(" ", prose)


def words_of(text: str) -> list[str]:
    """Its words in lower case, with plain quotes."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def count_english(plain: str) -> tuple[int, int]:
    """Function words of English, and all words but numbers."""
    return len(_ENGLISH.findall(plain)), sum(not w[0].isdigit() for w in words_of(plain))


def _leaked(text: str, prompt: str, most_words: int) -> Flaw | None:
    """A marker line, or a run of words that only the instructions had."""
    marked = _MARKED.search(text)
    if marked:
        return "leaked_prompt", marked[0].strip()[:200]
    runs = _runs_of(prompt, most_words + 1) if prompt else frozenset()
    words = words_of(text) if runs else []
    for i in range(len(words) - most_words):
        run = " ".join(words[i : i + most_words + 1])
        if run in runs:
            return "leaked_prompt", run[:200]
    return None


@lru_cache(maxsize=64)  # the instructions are the same for many texts
def _runs_of(prompt: str, length: int) -> frozenset[str]:
    own, extracts = _EXTRACT.sub(" ", prompt), " ".join(m[0] for m in _EXTRACT.finditer(prompt))
    quoted = _runs(words_of(extracts), length)  # a text may quote what it is grounded in
    return frozenset(_runs(words_of(own), length) - quoted)


def _runs(words: list[str], length: int) -> set[str]:
    return {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}


def _opener(text: str, more: tuple[str, ...]) -> Flaw | None:
    """A banned beginning, of the text or of what stands under its first heading."""
    lines = [line for line in text.splitlines() if line.strip()][:2]
    shown = lines if lines and lines[0].lstrip().startswith("#") else lines[:1]
    for line in shown:
        start = " ".join(_LEAD.sub("", line).casefold().replace("’", "'").split())
        for opener in (*OPENERS, *(one.casefold() for one in more)):
            if start.startswith(opener) and not start[len(opener) : len(opener) + 1].isalnum():
                return "banned_opener", line.strip()[:120]
    return None


def _language(plain: str, least_share: float) -> Flaw | None:
    letters = [c for c in plain if c.isalpha()]
    foreign = sum(c > "\u024f" for c in letters) / max(1, len(letters))  # beyond Latin letters
    if len(letters) >= _LEAST_LETTERS and foreign > _MAX_FOREIGN_LETTERS:
        return "wrong_language", f"{foreign:.2f} of its letters are not Latin"
    english, words = count_english(plain)
    share = english / max(1, words)
    if words >= _LEAST_WORDS and share < least_share:
        return "wrong_language", f"{share:.2f} of its words are function words of English"
    return None


def _repetition(prose: str, plain: str) -> Flaw | None:
    lines = [line.strip() for line in prose.splitlines()]
    long = [line for line in lines if sum(map(str.isalpha, line)) >= _LEAST_LINE_LETTERS]
    told = find_repetition(long, words_of(plain))
    return ("repeats_itself", told) if told else None


def _truncated(text: str, unfenced: str) -> Flaw | None:
    """An open fence, a heading with nothing under it, or a last line that does not end."""
    if _FENCE.search(unfenced):
        return "truncated", f"a fence that is never closed: {text.rstrip()[-80:]!r}"
    lines = text.splitlines()
    while lines and _MARKUP.fullmatch(lines[-1]):
        lines.pop()
    last = lines[-1].rstrip() if lines else ""
    if _FENCE.match(last) or last.startswith(("    ", "\t")):
        return None
    end = last.rstrip(" *_")
    if last.lstrip().startswith("#"):
        return "truncated", f"ends with the heading {last[:80]!r}"
    item = _ITEM.match(last) is not None
    if (not item and not _CLOSED.search(last)) or _DANGLING.search(end):
        return "truncated", f"ends with {last[-80:]!r}"
    return None
