"""A curriculum: subjects, their topics, the topics' concepts, and skills with prerequisites.

It is YAML, the built-in one (`curriculum.yaml`) and a user's own alike:

    subjects:
      - name: Programming in Python
        topics:
          - name: Text
            concepts:
              - name: Searching
                skills:
                  - {id: find-text, name: find a part of a text, terms: [find, index, in],
                     needs: [text-literals]}

`needs` names skills by id, of any subject. `terms` are the words and identifiers that give a text
on the skill away: an extract fits a skill when at least two of them occur in it, the rarer the
better. Among the skills that fit nearly as well as the best, an extract goes to the one with the
fewest so far, so that extracts spread over the curriculum. `python -m benchmarks.plan_design` says
what an extract costs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from pipeline.config import Section
from pipeline.errors import InputError

BUILT_IN = Path(__file__).parent / "curriculum.yaml"
_FEWEST_TERMS = 2  # one word alone is chance
_LEAST_SHARE = 0.35  # of the weight of a skill's terms
_NEARLY = 0.85  # of the best skill's weight
_WORD = re.compile(r"[A-Za-z][a-z]+|[A-Z]+(?![a-z])")  # identifiers fall apart at _ and at capitals

Line = Annotated[str, Field(pattern=r"^\S[^\n]{0,199}$")]


@dataclass(frozen=True)
class Skill:
    """Something a reader can do afterwards. `needs` are ids of what must be known before."""

    id: str
    name: str
    subject: str
    topic: str
    concept: str
    terms: frozenset[str]
    needs: tuple[str, ...]


class _Skill(Section):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")
    name: Line
    terms: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


class _Concept(Section):
    name: Line
    skills: tuple[_Skill, ...] = Field(min_length=1)


class _Topic(Section):
    name: Line
    concepts: tuple[_Concept, ...] = Field(min_length=1)


class _Subject(Section):
    name: Line
    topics: tuple[_Topic, ...] = Field(min_length=1)


class _Shape(Section):
    subjects: tuple[_Subject, ...] = Field(min_length=1)


class Curriculum:
    """Skills, each after all that it needs."""

    def __init__(self, skills: Sequence[Skill], source: str = "a curriculum") -> None:
        """Raises InputError for an id that is given twice or unknown, and for a cycle of needs."""
        self.skills = tuple(_in_order(skills, source))
        self.by_id = {skill.id: skill for skill in self.skills}

    def known_before(self, skill_id: str) -> list[Skill]:
        """What a text on this skill may take as known: all that it needs, however far back."""
        known: set[str] = set()
        pending = list(self.by_id[skill_id].needs)
        while pending:
            if (needed := pending.pop()) not in known:
                known.add(needed)
                pending += self.by_id[needed].needs
        return [skill for skill in self.skills if skill.id in known]

    def match(self, texts: Sequence[str]) -> list[str | None]:
        """The id of the skill that each text goes to, or None where none fits."""
        held = [frozenset(self._terms & words_of(text)) for text in texts]
        seen_in = Counter(term for terms in held for term in terms)
        weight = {term: math.log((1 + len(texts)) / (1 + seen_in[term])) for term in self._terms}
        whole = {s.id: math.fsum(weight[term] for term in s.terms) for s in self.skills}
        taken: Counter[str] = Counter()
        found: list[str | None] = []
        for terms in held:
            fitting = self._fitting(terms, weight, whole)
            best = max(fitting.values(), default=0)
            near = [skill for skill, fit in fitting.items() if fit >= _NEARLY * best]
            chosen = min(near, key=lambda skill: (taken[skill], -fitting[skill]), default=None)
            found.append(chosen)
            taken.update([chosen] if chosen else [])
        return found

    def _fitting(
        self, terms: frozenset[str], weight: dict[str, float], whole: dict[str, float]
    ) -> dict[str, float]:
        """Skills of which enough occurs, in the curriculum's order, and the weight of that."""
        hits = Counter(skill for term in terms for skill in self._by_term[term])
        found = {}
        for skill in self.skills:
            if hits[skill.id] >= _FEWEST_TERMS:
                fit = math.fsum(weight[term] for term in skill.terms & terms)
                if fit >= _LEAST_SHARE * whole[skill.id]:
                    found[skill.id] = fit
        return found

    @cached_property
    def _by_term(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for skill in self.skills:
            for term in skill.terms:
                found.setdefault(term, []).append(skill.id)
        return found

    @cached_property
    def _terms(self) -> frozenset[str]:
        return frozenset(self._by_term)


def split_words(text: str) -> set[str]:
    """The words of a text in lower case, identifiers taken apart."""
    return {word.lower() for word in _WORD.findall(text)}


def words_of(text: str) -> set[str]:
    """The words of a text, and those that end in an s without it too: a plural has the term."""
    words = split_words(text)
    return words | {w[:-1] for w in words if len(w) > 3 and w[-1] == "s" and w[-2] != "s"}


def load_curriculum(path: Path = BUILT_IN) -> Curriculum:
    """The curriculum in a file. Raises InputError, one line, for whatever is wrong with it."""
    cure = "write it as the docstring of pipeline/curriculum.py shows"
    try:
        # every scalar is a text: terms such as `true`, `null` and `yes` are words here
        given = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(
            "synthesize", f"the curriculum {path} cannot be read ({error})", "name a YAML file"
        ) from error
    try:
        shape = _Shape.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        problem = f"in the curriculum {path}, {place} = {first['input']!r:.80}: {first['msg']}"
        raise InputError("synthesize", problem, cure) from error
    skills = _flat(shape)
    if bare := [skill.id for skill in skills if len(skill.terms) < _FEWEST_TERMS]:
        raise InputError(
            "synthesize",
            f"in the curriculum {path} the terms of {bare[0]!r} hold fewer than two words of two "
            "letters or more",
            "give terms that occur in texts on it: no extract fits a skill without",
        )
    return Curriculum(skills, f"the curriculum {path}")


def dump_curriculum(skills: Sequence[Skill]) -> str:
    """The same YAML that `load_curriculum` reads, skills in the order given."""
    tree: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for skill in skills:
        row = {"id": skill.id, "name": skill.name, "terms": sorted(skill.terms),
               "needs": list(skill.needs)}  # fmt: skip
        topics = tree.setdefault(skill.subject, {})
        topics.setdefault(skill.topic, {}).setdefault(skill.concept, []).append(row)
    subjects = [
        {"name": subject, "topics": [
            {"name": topic, "concepts": [
                {"name": concept, "skills": rows} for concept, rows in concepts.items()
            ]} for topic, concepts in topics.items()
        ]} for subject, topics in tree.items()
    ]  # fmt: skip
    return yaml.safe_dump({"subjects": subjects}, sort_keys=False, allow_unicode=True, width=100)


def _flat(shape: _Shape) -> list[Skill]:
    return [
        Skill(
            skill.id, skill.name, subject.name, topic.name, concept.name,
            frozenset(split_words(" ".join(skill.terms))), skill.needs,
        )
        for subject in shape.subjects
        for topic in subject.topics
        for concept in topic.concepts
        for skill in concept.skills
    ]  # fmt: skip


def _in_order(skills: Sequence[Skill], source: str) -> list[Skill]:
    """Prerequisites first; otherwise as they were given."""
    place = {skill.id: i for i, skill in enumerate(skills)}
    if len(place) < len(skills):
        twice = next(i for i, n in Counter(s.id for s in skills).items() if n > 1)
        raise InputError("synthesize", f"{source} has the skill {twice!r} twice", "rename one")
    for skill in skills:
        if unknown := [need for need in skill.needs if need not in place]:
            raise InputError(
                "synthesize",
                f"in {source} the skill {skill.id!r} needs {unknown[0]!r}, which is none of it",
                "add that skill, or take it out of needs",
            )
    sorter = TopologicalSorter({skill.id: skill.needs for skill in skills})
    try:
        sorter.prepare()
    except CycleError as error:
        ring = " -> ".join(reversed(error.args[1]))  # each needs the next
        raise InputError(
            "synthesize", f"in {source} skills need each other: {ring}", "break the cycle"
        ) from error
    ordered: list[Skill] = []
    while ready := sorted(sorter.get_ready(), key=place.__getitem__):
        ordered += [skills[place[skill]] for skill in ready]
        sorter.done(*ready)
    return ordered
