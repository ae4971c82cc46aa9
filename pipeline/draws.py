"""The plan of what is written: every choice of a prompt drawn before a call, and logged.

Diversity comes from the prompt, not from the temperature (phi-1, arXiv 2306.11644, section 2.2;
TinyStories, arXiv 2305.07759; Cosmopedia): an extract of a real document, a skill of the curriculum
that it fits, an audience with instructions of its own, a format, a style, a difficulty, a persona,
three words, and a topic that is stated only some of the time.

Extracts lie in the curriculum's order and are taken in van der Corput's order, so that any number
of pieces uses all of them, and so all skills, about equally often; the skill is the extract's
(`Curriculum.match`). The other choices are spread so that every pair, with the skill too, comes up
about equally often (`pipeline.spread`). A slot depends on no other: the first N draws of a longer
plan are the same, and so is a further attempt whatever becomes of other slots.

What rejections leave of the coverage hangs on what is turned. Where most extracts are refused,
`python -m benchmarks.plan_design` finds 97 % of the pairs when refused extracts are passed over and
the other choices turned only after a piece was rejected, 91 % when they are turned at every
attempt, and 90 % (of fewer pieces, for more requests) when refused extracts come again. So a caller
does best to hand `draw` the extracts refused so far, and as `turn` how many pieces of the slot were
rejected. The command prints what a draw costs, too; no list of draws is kept.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.curriculum import Curriculum
from pipeline.extracts import Extract
from pipeline.factors import Factors
from pipeline.personas import Persona
from pipeline.spread import ROWS, Spread, coprime_step, reversed_bits

_BITS = ROWS.bit_length() - 1
_CYCLE_BITS = 20  # cycles before the place within a stratum repeats
_TRIES_ALIKE = 4  # extracts of one skill that a slot may come to, before it tries any other
STATED, LEFT_OUT = "stated", "left out"
FACTORS = ("topic", "audience", "format", "style", "difficulty", "persona",
           "verb", "noun", "adjective")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draw:
    """Every choice of one prompt, by name."""

    prompt_id: str
    task: str
    slot: int
    attempt: int
    turn: int  # how often the choices were changed besides the extract
    seed: int
    extract: int  # position in the plan's extracts
    doc_id: str  # of the document that the extract is from
    skill: str | None  # its id; None where no skill fits the extract
    topic: str  # STATED or LEFT_OUT
    audience: str
    format: str
    style: str
    difficulty: str
    persona: str | None
    words: tuple[str, str, str]  # a verb, a noun, an adjective

    def record(self) -> dict[str, Any]:
        """The draw as a JSON object."""
        return {**asdict(self), "words": list(self.words)}


class Plan:
    """All draws of one task, for as many slots as are asked for."""

    def __init__(
        self, task: str, extracts: Sequence[Extract], seed: int, factors: Factors | None = None,
        curriculum: Curriculum | None = None, personas: Sequence[Persona] = (),
    ) -> None:  # fmt: skip
        """`extracts` holds at least one; their order decides the draws, so it must be stable."""
        self.task, self.extracts, self.seed = task, extracts, seed
        self.factors = factors or Factors()
        self.curriculum = curriculum
        self.personas = {persona.text: persona for persona in personas}
        self._skills = _skills_of(extracts, curriculum)
        self._levels = self._names_of_levels()
        self._steps = [coprime_step(len(names)) for names in self._levels]
        entropy = list(hashlib.sha256(f"{task}\x00{seed}".encode()).digest()[:16])
        self._flip = int.from_bytes(entropy[:2], "big") % ROWS
        grounds = _numbered(self._skills, curriculum)
        shuffled = np.random.default_rng([*entropy, 1]).permutation(len(extracts))
        self._order = [int(i) for i in sorted(shuffled, key=grounds.__getitem__)]
        self._of_order = [grounds[i] for i in self._order]
        sizes = [len(names) for names in self._levels]
        of_rows = [grounds[self._order[self._place(row)]] for row in range(ROWS)]
        self._spread = Spread(sizes, of_rows, [*entropy, 2])

    def draw(
        self, slot: int, attempt: int = 0, turn: int | None = None,
        refused: Set[int] = frozenset(),
    ) -> Draw:  # fmt: skip
        """The draw of one slot's attempt.

        A further attempt has another extract, first of the same skill, then of any, and none of
        those known to be `refused`: the writer found nothing to teach in them. All other choices
        are turned `turn` times, None: as often as there were attempts, so that each differs from
        those of the turns before (as far as its factor has levels; a topic may stay stated).
        """
        turn = attempt if turn is None else turn
        extract = self._extract_of(slot, attempt, refused)
        topic, audience, form, style, difficulty, persona, verb, noun, adjective = [
            names[(level + turn * step) % len(names)]
            for names, level, step in zip(
                self._levels, self._spread.row(slot), self._steps, strict=True
            )
        ]
        return Draw(
            prompt_id=f"{self.task}-{slot:07}-{attempt}",
            task=self.task,
            slot=slot,
            attempt=attempt,
            turn=turn,
            seed=self.seed,
            extract=extract,
            doc_id=self.extracts[extract].doc_id,
            skill=self._skills[extract],
            topic=topic,
            audience=audience,
            format=form,
            style=style,
            difficulty=difficulty,
            persona=persona,
            words=(verb, noun, adjective),
        )

    def shares(self, refused: Set[int] = frozenset()) -> dict[str, dict[str | None, float]]:
        """Each factor's levels, and the share of the pieces that the plan gives them.

        Skills count by the extracts that fit them and are not `refused`.
        """
        skills = [skill for i, skill in enumerate(self._skills) if i not in refused]
        levels = {"skill": skills, **dict(zip(FACTORS, self._levels, strict=True))}
        return {
            name: {level: n / len(names) for level, n in Counter(names).items()}
            for name, names in levels.items()
        }

    def _names_of_levels(self) -> list[tuple[Any, ...]]:
        """The names of the levels of each of FACTORS."""
        every = self.factors.topic_left_out_every
        named = (
            self.factors.audience, self.factors.format, self.factors.style, self.factors.difficulty
        )  # fmt: skip
        return [
            (LEFT_OUT, *(every - 1) * (STATED,)) if every else (STATED,),
            *(tuple(level.name for level in levels) for levels in named),
            tuple(self.personas) or (None,),
            *word_lists(),
        ]

    def _extract_of(self, slot: int, attempt: int, refused: Set[int]) -> int:
        """The extract that an attempt has, or the next one that is not refused."""
        skipped = attempt % len(self._order)
        places = itertools.chain(
            itertools.islice(self._places(slot), skipped, None),
            itertools.islice(self._places(slot), skipped),
        )
        usable = (place for place in places if self._order[place] not in refused)
        return self._order[next(usable, self._place(slot))]

    def _places(self, slot: int) -> Iterator[int]:
        """Where in the order a slot goes, attempt by attempt: each place once."""
        first, size = self._place(slot), len(self._order)
        yield first
        start = bisect.bisect_left(self._of_order, self._of_order[first])
        alike = bisect.bisect_right(self._of_order, self._of_order[first]) - start
        near = [
            start + (first - start + _away(slot, step, alike)) % alike
            for step in range(1, min(alike, _TRIES_ALIKE))
        ]
        yield from near
        anywhere = ((first + _away(slot, step, size)) % size for step in range(1, size))
        yield from (place for place in anywhere if place not in near)

    def _place(self, slot: int) -> int:
        """Where in the order of extracts a slot falls: each cycle of ROWS has one in each of ROWS
        equal parts, and further cycles halve the gaps that are left.
        """
        cycle, row = divmod(slot, ROWS)
        part = reversed_bits(row, _BITS) ^ self._flip
        within = reversed_bits(cycle % (1 << _CYCLE_BITS), _CYCLE_BITS)
        return ((part << _CYCLE_BITS) + within) * len(self._order) >> (_BITS + _CYCLE_BITS)


def _away(slot: int, step: int, size: int) -> int:
    """How far a step, 1 to `size` - 1, goes round `size` places; no two go equally far.

    It depends on the slot: slots with the same extract part ways.
    """
    return 1 + (slot * coprime_step(size - 1) + step - 1) % (size - 1)


def _skills_of(extracts: Sequence[Extract], curriculum: Curriculum | None) -> list[str | None]:
    if curriculum is None:
        return [None] * len(extracts)
    return curriculum.match([f"{one.topic}\n{one.text}" for one in extracts])


def _numbered(skills: Sequence[str | None], curriculum: Curriculum | None) -> list[int]:
    """The skills' places in the curriculum; extracts without a skill come last."""
    places = {skill.id: i for i, skill in enumerate(curriculum.skills if curriculum else ())}
    return [len(places) if skill is None else places[skill] for skill in skills]


@cache
def word_lists() -> tuple[tuple[str, ...], ...]:
    """Verbs, nouns and adjectives of the project's own list."""
    lines = (Path(__file__).parent / "words.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return tuple(
        tuple(word for row in rows if row[0] == name for word in row[1:])
        for name in ("verbs", "nouns", "adjectives")
    )
