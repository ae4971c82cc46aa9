"""Rounds of drafts: draw, ask, execute, weigh, shelve; then the rejected slots again.

A round asks for all open slots at once and settles them in the order of the plan, so what is
accepted does not depend on which answer came first, and a killed run ends with the same pieces. A
rejected slot is drawn anew, a bounded number of times: from another extract, not from one in which
the writer found nothing to teach, and after a near copy with every other choice changed too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.draws import Draw, Plan
from pipeline.extracts import Extract
from pipeline.gate import Gate, Weighed
from pipeline.judge_piece import Judged
from pipeline.piece import make_row
from pipeline.question import Answer, Question
from pipeline.sandbox import Sandbox
from pipeline.shelf import Draft, Shelf
from pipeline.stage import Workplace
from pipeline.task import Task
from pipeline.teacher import Teacher
from pipeline.verdicts import Verdicts

NOTHING_TO_TEACH = "nothing_to_teach"


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
    refused: dict[str, set[int]] = field(default_factory=dict)  # extracts, by task

    def write(
        self, task: Task, plan: Plan, extracts: Sequence[Extract], slots: Iterable[int]
    ) -> None:
        """Fill these slots, or give each up after its last redraw."""
        refused = self.refused.setdefault(task.name, set())
        draws = [plan.draw(slot, refused=refused) for slot in slots]
        while draws:
            rejected = self._round(task, draws, extracts)
            refused |= {one.extract for one, draft in rejected if draft.reason == NOTHING_TO_TEACH}
            draws = [
                plan.draw(one.slot, one.attempt + 1, one.turn + draft.is_near_copy, refused)
                for one, draft in rejected
                if one.attempt < self.max_redraws
            ]

    def _round(
        self, task: Task, draws: Sequence[Draw], extracts: Sequence[Extract]
    ) -> list[tuple[Draw, Draft]]:
        """Ask for these draws, settle them in order, and return what was rejected."""
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
        settled = (
            (one, self.shelf.settle(task.name, draft))
            for one, draft in zip(draws, self.weigh(drafts), strict=True)
        )
        return [(one, draft) for one, draft in settled if draft.reason is not None]

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
