"""Rounds of drafts: draw, ask, execute, weigh, shelve; then the rejected slots again.

A round asks for all open slots at once and settles them in the order of the plan, so what is
accepted does not depend on which answer came first, and a killed run ends with the same pieces. A
rejected slot is drawn anew, a bounded number of times: from another extract, not from one in which
the writer found nothing to teach or nothing new, and first from those that no piece rests on; when
these are at an end, a near copy has every other choice changed too. Where no extract is left, no
further draft is paid for.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.draws import Draw, Plan
from pipeline.extracts import Extract
from pipeline.gate import Gate, Weighed
from pipeline.judged import NOTHING_TO_TEACH, Judged
from pipeline.piece import make_row
from pipeline.question import Answer, Question
from pipeline.sandbox import Sandbox
from pipeline.shelf import Draft, Shelf
from pipeline.stage import Workplace
from pipeline.task import Task
from pipeline.teacher import Teacher
from pipeline.verdicts import Verdicts

_log = logging.getLogger(__name__)


@dataclass
class Stock:
    """What is left of a task's extracts."""

    refused: set[int] = field(default_factory=set)  # the writer found nothing to teach in them
    used_up: set[int] = field(default_factory=set)  # it found nothing new in them
    used: set[int] = field(default_factory=set)  # an accepted piece rests on them
    refusals: int = 0
    twins_in_row: Counter[int] = field(default_factory=Counter)

    def note(self, extract: int, draft: Draft, max_twins_in_row: int) -> None:
        """Take in how a draft from this extract ended."""
        self.twins_in_row[extract] = self.twins_in_row[extract] + 1 if draft.is_near_copy else 0
        if draft.reason == NOTHING_TO_TEACH:
            self.refused.add(extract)
            self.refusals += 1
        if draft.reason is None:
            self.used.add(extract)
        if self.twins_in_row[extract] == max_twins_in_row:
            self.used_up.add(extract)

    def has_unused(self, extracts: int) -> bool:
        """Whether there are extracts that no accepted piece rests on."""
        return len(self.refused | self.used_up | self.used) < extracts

    def not_drawn(self, again: bool, extracts: int) -> set[int]:
        """What is not drawn; a slot drawn again goes to unused extracts while there are some."""
        spent = self.refused | self.used_up
        return spent | self.used if again and self.has_unused(extracts) else spent

    def is_to_blame(self, draft: Draft, extracts: int) -> bool:
        """Whether the extract was, and not the draft: no redraw of its slot is counted then.

        As many refusals as there are extracts are free, so what a task may ask is bounded.
        """
        return draft.reason == NOTHING_TO_TEACH and self.refusals <= extracts


@dataclass(frozen=True)
class Desk:
    """All that a round works with."""

    place: Workplace
    teacher: Teacher
    sandbox: Sandbox
    verdicts: Verdicts
    gate: Gate
    shelf: Shelf
    max_answer_tokens: int
    max_redraws: int
    max_twins_in_row: int
    stocks: dict[str, Stock] = field(default_factory=dict)  # by task
    not_asked: Counter[str] = field(default_factory=Counter)  # slots, by task

    def write(
        self, task: Task, plan: Plan, extracts: Sequence[Extract], slots: Iterable[int]
    ) -> None:
        """Fill these slots, or give each up: after its last redraw, or for want of extracts."""
        stock = self.stocks.setdefault(task.name, Stock())
        open_slots = [(slot, 0, 0) for slot in slots]  # attempt, turn
        redraws: Counter[int] = Counter()
        while open_slots:
            if len(stock.refused | stock.used_up) == len(extracts):
                self.not_asked[task.name] += len(open_slots)
                _log.warning(
                    "synthesize: %s: nothing new in any of %d extracts, %d slots are given up",
                    task.name, len(extracts), len(open_slots),
                )  # fmt: skip
                return
            not_drawn = stock.not_drawn(bool(redraws), len(extracts))
            draws = [plan.draw(*place, not_drawn) for place in open_slots]
            settled = self._round(task, draws, extracts)
            for one, draft in settled:
                stock.note(one.extract, draft, self.max_twins_in_row)
                redraws[one.slot] += not stock.is_to_blame(draft, len(extracts))
            has_unused = stock.has_unused(len(extracts))
            open_slots = [
                (one.slot, one.attempt + 1, one.turn + (draft.is_near_copy and not has_unused))
                for one, draft in settled
                if draft.reason is not None and redraws[one.slot] <= self.max_redraws
            ]

    def _round(
        self, task: Task, draws: Sequence[Draw], extracts: Sequence[Extract]
    ) -> list[tuple[Draw, Draft]]:
        """Ask for these draws and settle them in order."""
        questions = [self._question(task, one, extracts[one.extract]) for one in draws]
        what = f"{task.name}: round {draws[0].attempt + 1}"
        with self.place.bar(what, len(draws)) as advance:
            answers = self.teacher.ask(questions, advance)
        verdicts = self._judge(task, draws, answers, extracts)
        self.shelf.blocks_executed += sum(verdict.blocks for verdict in verdicts)
        drafts = [
            self._draft(task, one, extracts[one.extract], answer, verdict)
            for one, answer, verdict in zip(draws, answers, verdicts, strict=True)
        ]
        return [
            (one, self.shelf.settle(task.name, draft))
            for one, draft in zip(draws, self.weigh(drafts), strict=True)
        ]

    def _question(self, task: Task, one: Draw, extract: Extract) -> Question:
        messages = task.messages(one, extract)
        return Question(
            one.prompt_id, messages, task.schema_name, task.schema, self.max_answer_tokens
        )

    def _judge(
        self, task: Task, draws: Sequence[Draw], answers: Sequence[Answer],
        extracts: Sequence[Extract],
    ) -> list[Judged]:  # fmt: skip
        """The verdict on each answer; only what was written is executed."""
        written = [(d, a.content) for d, a in zip(draws, answers, strict=True) if _wrote(a)]

        def judge(i: int) -> Judged:
            one, content = written[i]
            assert content is not None
            return task.judge(content, one, extracts[one.extract], self.sandbox)

        drafts = [(one.prompt_id, content or {}) for one, content in written]
        found = iter(self.verdicts.of(drafts, judge))
        return [next(found) if _wrote(answer) else _unwritten(answer) for answer in answers]

    def _draft(
        self, task: Task, one: Draw, extract: Extract, answer: Answer, verdict: Judged
    ) -> Draft:
        row = None
        if answer.content is not None and _wrote(answer):
            text = task.text(answer.content, one, extract)
            fields = task.row(answer.content, one, extract)
            row = make_row(one, text, extract, fields, verdict, self.teacher.name)
        return Draft(
            one.prompt_id, one.record(), row, verdict.reason, verdict.evidence,
            failed=answer.content is None,
        )  # fmt: skip

    def weigh(self, drafts: Iterable[Draft]) -> list[Draft]:
        """The drafts with the gate's word on those that stand and have no twin on the shelf yet."""
        weighed = [self.shelf.against_earlier(draft) for draft in drafts]
        standing = [i for i, draft in enumerate(weighed) if draft.stands]
        pieces = [(one.row["text"], one.row["kind"]) for one in weighed if one.row and one.stands]
        for i, said in zip(standing, self.gate.weigh(pieces), strict=True):
            weighed[i] = _with(weighed[i], said)
        return weighed


def _wrote(answer: Answer) -> bool:
    return answer.content is not None and not answer.content["refusal"]


def _unwritten(answer: Answer) -> Judged:
    if answer.content is None:
        return Judged(answer.problem, (answer.raw or "")[:200], 0)
    return Judged(NOTHING_TO_TEACH, answer.content["refusal"], 0)


def _with(draft: Draft, said: Weighed) -> Draft:
    if said.reason is not None:
        return replace(draft, reason=said.reason, evidence=said.evidence)
    assert draft.row is not None
    metadata = {**json.loads(draft.row["metadata"]), **said.record()}
    return replace(draft, row={**draft.row, "metadata": json.dumps(metadata)})
