"""The stand-in's books: an order of real functions in which each builds on those before.

Not an LLM. The outline is greedy: of the functions that show something, next comes the one that
brings the fewest constructs not met yet. Its section says which of its constructs are known, which
are new and what they mean, and teaches the function as a lesson does. Prose is not made into
sections: rules cannot tell what it presupposes.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import numpy as np

from pipeline.book_outline import read_enclosed
from pipeline.book_text import lower_headings
from pipeline.standin_constructs import constructs_in, meaning_of
from pipeline.standin_frame import listed
from pipeline.standin_functions import Subject, study
from pipeline.standin_lessons import Lesson
from pipeline.task import read_choices

_MOST_NEW = 7  # constructs of a section, besides the function's own name
_MOST_NEEDS = 6
_MEANING_CHARS = 180
_RANGE = re.compile(r"^sections: (\d+) to (\d+)$", re.M)


def plan_book(message: str) -> dict[str, Any]:
    """The answer to the question for an outline. Raises ValueError where it is no such question."""
    limits, materials = _RANGE.search(message), read_enclosed(message)
    if limits is None or not materials:
        raise ValueError("the prompt holds no materials between markers")
    fewest, most = int(limits[1]), int(limits[2])
    subjects: dict[str, tuple[int, Subject]] = {}
    for number, text in enumerate(materials, 1):
        subject = study(text) if re.search(r"^\s*def \w", text, re.M) else "prose"
        if not isinstance(subject, str):
            subjects.setdefault(subject.name, (number, subject))
    sections = _in_order(list(subjects.values()))[:most]
    if len(sections) < fewest:
        reason = f"{len(sections)} of {len(materials)} materials show something when they are run"
        return {"title": "", "sections": [], "refusal": reason}
    if not any(one["needs"] for one in sections):
        return {"title": "", "sections": [], "refusal": "the functions share no construct"}
    names = " and ".join(f"`{one['terms'][0]}`" for one in (sections[0], sections[-1]))
    return {"title": f"Python by example: from {names}", "sections": sections, "refusal": None}


def _in_order(subjects: list[tuple[int, Subject]]) -> list[dict[str, Any]]:
    """Sections such that each brings as little as possible that is new."""
    left = {number: (subject, constructs_in(subject.node)) for number, subject in subjects}
    known: list[str] = []
    sections = []
    while left:
        number = min(left, key=lambda n: (len(set(left[n][1]) - set(known)), n))
        subject, used = left.pop(number)
        new = [construct for construct in used if construct not in known][:_MOST_NEW]
        needs = [construct for construct in known if construct in used]
        told = f", and what {_article(new[0])} is" if new else ""
        sections.append(
            {
                "title": f"What {subject.name} does",
                "teaches": f"The reader can say what `{subject.name}` gives back{told}.",
                "terms": [subject.name, *new],
                "needs": needs[:_MOST_NEEDS],
                "material": number,
            }
        )
        known += new
    return sections


def write_section(message: str) -> dict[str, Any]:
    """The answer to the question for a section. Raises ValueError where it is no such question."""
    enclosed = read_enclosed(message)
    choices = read_choices(message)
    place = re.match(r"(\d+) of", choices.get("section", ""))
    if len(enclosed) != 2 or place is None:
        raise ValueError("the prompt holds no plan and material between markers")
    plan = json.loads(enclosed[0])
    number = int(place[1])
    subject = study(enclosed[1])
    if isinstance(subject, str):
        return {"text": "", "terms": [], "refusal": subject}
    planned = plan["sections"][number - 1]
    used = constructs_in(subject.node)
    terms = {term: _meaning(term, subject) for term in planned["introduces"]}
    seed = hashlib.sha256(message.encode()).digest()[:16]
    lesson = Lesson(subject, {**choices, "topic": subject.name}, list(seed))
    parts = [
        _bridge(plan, number, used, np.random.default_rng(list(seed))),
        _new(subject, used, terms),
        lower_headings(lesson.text().partition("\n")[2].strip()),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    told = [{"term": term, "meaning": meaning} for term, meaning in terms.items()]
    return {"text": text, "terms": told, "refusal": None}


def _bridge(
    plan: dict[str, Any], number: int, used: dict[str, str], generator: np.random.Generator
) -> str:
    """What came before, and where it returns."""
    if number == 1:
        rest = len(plan["sections"]) - 1
        return f"The first of {rest + 1} functions; the {rest} after it build on what it shows."
    before = plan["sections"][number - 2]["introduces"][0]
    known = [term for term in plan["sections"][number - 1]["needs"] if term in used]
    links = (
        f"From `{before}` we go on to a function that asks for more.",
        f"With `{before}` understood, the next function is within reach.",
        f"After `{before}`, here is another use of the same means.",
        f"What `{before}` showed is not lost: some of it returns.",
    )
    told = [f"the {term} in `{used[term]}`" for term in known if "`" not in used[term]]
    again = f" You will recognise {listed(told)}." if told else ""
    return links[int(generator.integers(len(links)))] + again


def _new(subject: Subject, used: dict[str, str], terms: dict[str, str]) -> str:
    """The terms of this section, each with its meaning and the place that shows it."""
    lines = [f"- **{subject.name}**: {terms.get(subject.name, '')}"]
    for term, meaning in terms.items():
        if term in used:
            shown = f" Here it is `{used[term]}`." if "`" not in used[term] else ""
            lines.append(f"- **{term}**: {meaning}.{shown}")
    return "New in this section:\n\n" + "\n".join(lines)


def _meaning(term: str, subject: Subject) -> str:
    if term != subject.name:
        return meaning_of(term)
    first = " ".join(subject.documentation.split()).partition(". ")[0].rstrip(".")
    names = listed([f"`{a.arg}`" for a in subject.parameters])
    return (first or f"the function that works on {names}")[:_MEANING_CHARS]


def _article(term: str) -> str:
    return f"an {term}" if term[0] in "aeiou" else f"a {term}"
