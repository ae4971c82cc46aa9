"""The plan of what is written: every choice of a prompt drawn before a call, and logged.

Diversity comes from the prompt, not from the temperature (phi-1, arXiv 2306.11644, section 2.2;
TinyStories, arXiv 2305.07759; Cosmopedia): an extract of a real document, an audience with
instructions of its own (changing only the audience's name gives near copies), a format, a style and
three words. Audience x format x style is walked in shuffled full cycles, so that every pair of
choices comes up about equally often; the first N draws of a longer plan are the same.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

AUDIENCES = {
    "beginner": "The reader has written programs for a month. Explain every step in plain words, "
    "use no term without saying what it means, and leave the cost of running out.",
    "student": "The reader is in the first year of computer science. Name the concepts, say how "
    "the work grows with the size of the input, and argue why the result is right.",
    "practitioner": "The reader programs for a living in another language. Be brief about syntax; "
    "dwell on what is accepted, what is returned, what is raised, and on the edges.",
    "teacher": "The reader prepares a class. Say what to show first, which questions to ask, and "
    "what answers to expect.",
}
FORMATS = {
    "lesson": "A lesson: purpose, explanation, a run with its output, what to notice, a task.",
    "worked example": "A worked example: follow one call through the code, with the values that "
    "the names take on the way.",
    "dialogue": "A dialogue between a learner and a mentor, who run the code together.",
    "common mistakes": "Common mistakes: calls that fail or surprise, what happens, and why.",
    "quiz": "A quiz: questions on what calls return, each with its answer and the reason.",
}
STYLES = {
    "plain": "Plain and direct.",
    "story": "Framed by a small everyday scene in which the three words occur.",
    "questions": "Each part opens with the question that it answers.",
}


@dataclass(frozen=True)
class Draw:
    """Every choice of one prompt."""

    prompt_id: str
    task: str  # "lesson" or "exercise"
    slot: int
    attempt: int
    extract: int  # position in the list of extracts
    audience: str
    format: str
    style: str
    words: tuple[str, str, str]  # a verb, a noun, an adjective

    def record(self) -> dict[str, Any]:
        """The draw as a JSON object."""
        return {**asdict(self), "words": list(self.words)}


def draw(task: str, slot: int, attempt: int, extracts: int, seed: int) -> Draw:
    """The draw of one slot's attempt; a further attempt draws every choice anew but the task."""
    turn = slot + attempt * 1_009  # a prime apart: other factors, another extract
    combinations = list(itertools.product(AUDIENCES, FORMATS, STYLES))
    cycle, place = divmod(turn, len(combinations))
    order = np.random.default_rng([seed, 6, cycle]).permutation(len(combinations))
    audience, form, style = combinations[order[place]]
    digest = hashlib.sha256(f"{task}\x00{slot}\x00{attempt}\x00{seed}".encode()).digest()
    numbers = np.random.default_rng(list(digest[:16]))
    verbs, nouns, adjectives = word_lists()
    words = tuple(str(numbers.choice(choices)) for choices in (verbs, nouns, adjectives))
    return Draw(
        prompt_id=f"{task}-{slot:07}-{attempt}",
        task=task,
        slot=slot,
        attempt=attempt,
        extract=int(numbers.integers(extracts)),
        audience=audience,
        format=form,
        style=style,
        words=(words[0], words[1], words[2]),
    )


@cache
def word_lists() -> tuple[tuple[str, ...], ...]:
    """Verbs, nouns and adjectives of the project's own list."""
    lines = (Path(__file__).parent / "words.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return tuple(
        tuple(word for row in rows if row[0] == name for word in row[1:])
        for name in ("verbs", "nouns", "adjectives")
    )
