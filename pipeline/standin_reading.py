"""The stand-in's lessons from prose: what explains, what is defined, and questions on it.

Not an LLM: it selects sentences. The difficulty decides how many, the format their order and shape,
the style the opening; without a topic in the prompt, the first term that is defined is the topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_TELLING = re.compile(
    r"\b(because|therefore|so that|if|when|instead|means|is an?|are|allows?|returns?|used)\b", re.I
)
_DEFINED = re.compile(
    r"^(?:The |An? )?([A-Za-z][\w` -]{2,30}?) (?:is|are) (?:an? |the |used )\w.{15,}$"
)
_NO_TERM = re.compile(
    r"\b(this|that|these|those|it|they|there|here|which|when|if|one|each|all|some|any|many|much|"
    r"you|we|he|she|what|who|other|another|same|following|above|below|result|first|second)\b",
    re.I,
)
_REPLIES = (
    "Let me write that down.", "Is that always so?", "I had thought the opposite.",
    "Then I see why it matters.", "Could you say it more slowly?", "And what follows from it?",
    "That is new to me.", "Good, go on.", "Now the pieces fit.",
)  # fmt: skip
_SENTENCES = {"first steps": 3, "core": 5, "demanding": 7, "expert": 9}


def read_lesson(extract: str, choices: Mapping[str, str]) -> dict[str, Any] | None:
    """The answer, or None where the extract explains too little in whole sentences."""
    flat = [" ".join(p.split()) for p in extract.split("\n\n") if not p.startswith((" ", ">", "|"))]
    sentences = [s for p in flat for s in _SENTENCE.split(p) if 8 <= len(s.split()) <= 40]
    sentences = [s for s in sentences if s[-1] in ".!?" and s[0].isupper() and "::" not in s]
    telling = [s for s in sentences if _TELLING.search(s)]
    defined = {
        m[1].strip(): s
        for s in sentences
        if (m := _DEFINED.match(s)) and not _NO_TERM.search(m[1]) and len(m[1].split()) <= 4
    }
    if len(telling) < 3 or not defined:
        return None
    topic = choices.get("topic", next(iter(defined))).strip()
    once = list(dict.fromkeys(s for s in telling if s not in defined.values()))
    told = once[: _SENTENCES.get(choices.get("difficulty", ""), 5)]
    parts = {"dialogue": _dialogue, "quiz": _quiz}.get(choices["format"], _lesson)(told, defined)
    blocks = [f"# {topic}", _opening(topic, choices), *parts]
    return {"title": topic[:200], "text": "\n\n".join(blocks) + "\n", "refusal": None}


def _opening(topic: str, choices: Mapping[str, str]) -> str:
    verb, noun, adjective = choices["words"].split(", ")
    told = [f"This piece is about {topic}."]
    if choices["style"] == "story":
        told.insert(
            0,
            f"Picture a {adjective} {noun} where people {verb} all day: even there it pays to know "
            "what the words of the trade mean.",
        )
    if choices["style"] == "questions":
        told.append(f"What is there to know about {topic}?")
    if "persona" in choices:
        told.append(f"It is for {choices['persona']}.")
    if "skill" in choices:
        told.append(f"It helps to {choices['skill']}.")
    return " ".join(told)


def _terms(defined: Mapping[str, str]) -> list[str]:
    """Every second term: nothing that is explained here is asked as well."""
    rows = [f"- **{term}**: {sentence}" for term, sentence in list(defined.items())[:8:2]]
    return ["Terms to keep:", "\n".join(rows)]


def _asked(defined: Mapping[str, str]) -> list[str]:
    rows = [
        f'{i}. Complete: "{sentence.replace(term, "_____", 1)}" (Answer: {term}.)'
        for i, (term, sentence) in enumerate(list(defined.items())[1:9:2], 1)
    ]
    return ["Check yourself:", "\n".join(rows)] if rows else []


def _lesson(told: list[str], defined: Mapping[str, str]) -> list[str]:
    return [" ".join(told), *_terms(defined), *_asked(defined)]


def _dialogue(told: list[str], defined: Mapping[str, str]) -> list[str]:
    turns = []
    for term, sentence in list(defined.items())[:3]:
        turns += [f"**Learner:** What do you mean by {term}?", f"**Mentor:** {sentence}"]
    for reply, sentence in zip(_REPLIES, told, strict=False):
        turns += [f"**Mentor:** {sentence}", f"**Learner:** {reply}"]
    return ["\n\n".join([*turns, "**Mentor:** That is enough for today."])]


def _quiz(told: list[str], defined: Mapping[str, str]) -> list[str]:
    return [*_asked(defined), "Why it is so:", " ".join(told), *_terms(defined)]
