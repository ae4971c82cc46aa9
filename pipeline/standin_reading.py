"""The stand-in's lessons from prose: what explains, what is defined, and questions on it.

Not an LLM: it selects sentences. The difficulty decides how many, the format their order and shape,
the style the opening; without a topic in the prompt, the first term that is defined is the topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.standin_sentences import defined, sentences, telling

_REPLIES = (
    "Let me write that down.", "Is that always so?", "I had thought the opposite.",
    "Then I see why it matters.", "Could you say it more slowly?", "And what follows from it?",
    "That is new to me.", "Good, go on.", "Now the pieces fit.",
)  # fmt: skip
_FEWEST_EXPLAINING = 3
_SENTENCES = {"first steps": 3, "core": 5, "demanding": 7, "expert": 9}


def read_lesson(extract: str, choices: Mapping[str, str]) -> dict[str, Any] | None:
    """The answer, or None where the extract explains too little in whole sentences."""
    whole = sentences(extract)
    explaining, terms = telling(whole), defined(whole)
    if len(explaining) < _FEWEST_EXPLAINING or not terms:
        return None
    topic = choices.get("topic", next(iter(terms))).strip()
    once = list(dict.fromkeys(s for s in explaining if s not in terms.values()))
    told = once[: _SENTENCES.get(choices.get("difficulty", ""), 5)]
    parts = {"dialogue": _dialogue, "quiz": _quiz}.get(choices["format"], _lesson)(told, terms)
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


def _terms(terms: Mapping[str, str]) -> list[str]:
    """Every second term: nothing that is explained here is asked as well."""
    rows = [f"- **{term}**: {sentence}" for term, sentence in list(terms.items())[:8:2]]
    return ["Terms to keep:", "\n".join(rows)]


def _asked(terms: Mapping[str, str]) -> list[str]:
    rows = [
        f'{i}. Complete: "{sentence.replace(term, "_____", 1)}" (Answer: {term}.)'
        for i, (term, sentence) in enumerate(list(terms.items())[1:9:2], 1)
    ]
    return ["Check yourself:", "\n".join(rows)] if rows else []


def _lesson(told: list[str], terms: Mapping[str, str]) -> list[str]:
    return [" ".join(told), *_terms(terms), *_asked(terms)]


def _dialogue(told: list[str], terms: Mapping[str, str]) -> list[str]:
    turns = []
    for term, sentence in list(terms.items())[:3]:
        turns += [f"**Learner:** What do you mean by {term}?", f"**Mentor:** {sentence}"]
    for reply, sentence in zip(_REPLIES, told, strict=False):
        turns += [f"**Mentor:** {sentence}", f"**Learner:** {reply}"]
    return ["\n\n".join([*turns, "**Mentor:** That is enough for today."])]


def _quiz(told: list[str], terms: Mapping[str, str]) -> list[str]:
    return [*_asked(terms), "Why it is so:", " ".join(told), *_terms(terms)]
