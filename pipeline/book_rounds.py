"""Books beside each other: every open book's next question in one round, until all have ended.

A finished book is weighed and compared as a whole, in the order of the plan. Its drafts, of the
outline and of every section, are accounted for one by one; with a dropped book go those that stood.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from pipeline.book import Book, next_questions, take
from pipeline.book_materials import gather_materials
from pipeline.book_outline import BookConfig
from pipeline.book_text import book_row
from pipeline.draws import Draw, Plan
from pipeline.extracts import Extract
from pipeline.piece import SOURCE
from pipeline.question import Question
from pipeline.records import make_doc_id
from pipeline.rounds import Desk
from pipeline.shelf import Draft
from pipeline.synthesis_config import SynthesizeConfig

_PARTS = 32  # of a book at most, the outline among them: each has a draw of its own


def write_books(
    desk: Desk, plan: Plan, extracts: Sequence[Extract], config: BookConfig, slots_at_once: int
) -> None:
    """Write the planned books, each on the next of the shelves of materials.

    Where the writer finds nothing to teach in a shelf, one that was not tried yet has its turn.
    """
    flaws = desk.place.section(SynthesizeConfig).flaws
    shelves = gather_materials(extracts, config.min_sections, config.max_sections, desk.place.seed)
    most = max(config.books, len(shelves)) if shelves else 0
    slot, wanted = 0, config.books
    while wanted and slot < most:
        books = [
            Book(
                one, shelves[one % len(shelves)], partial(_draw, plan, one), config,
                desk.max_answer_tokens, plan.factors, flaws,
            )
            for one in range(slot, min(slot + wanted, slot + slots_at_once, most))
        ]  # fmt: skip
        while questions := next_questions(books):
            _round(desk, books, questions)
        _settle(desk, books)
        slot += len(books)
        wanted -= sum(not book.has_nothing_to_teach for book in books)


def _draw(plan: Plan, slot: int, part: int, attempt: int) -> Draw:
    return plan.draw(slot * _PARTS + part, attempt)


def _round(desk: Desk, books: Sequence[Book], questions: Sequence[Question]) -> None:
    """One question of each open book, answered and judged side by side, settled in order."""
    with desk.place.bar("books: next parts", len(questions)) as advance:
        answers = desk.teacher.ask(questions, advance)
    still_open = [book for book in books if book.state == "open"]
    drafts = [(q.key, a.content or {}) for q, a in zip(questions, answers, strict=True)]
    verdicts = desk.verdicts.of(drafts, lambda i: still_open[i].judge(answers[i], desk.sandbox))
    desk.shelf.blocks_executed += sum(verdict.blocks for verdict in verdicts)
    take(books, answers, verdicts, desk.shelf.twins.twin_of)


def _settle(desk: Desk, books: Sequence[Book]) -> None:
    finished = [book for book in books if book.state == "kept"]
    wholes = desk.weigh([_whole(book, desk.teacher.name) for book in finished])
    for book, whole in zip(finished, wholes, strict=True):
        settled = desk.shelf.shelve("book", whole)
        if not settled.stands:
            book.drop(settled.reason or "unknown", settled.evidence)
    for book in books:
        for part in book.drafts():
            draw = part.draw
            desk.shelf.count(
                Draft(
                    draw.prompt_id,
                    draw.record(),
                    None,
                    part.reason,
                    part.evidence,
                    part.failed,
                    part.text,
                )
            )


def _whole(book: Book, writer: str) -> Draft:
    fields = book_row(book)
    metadata: dict[str, Any] = {"task": "book", **fields["metadata"], "annotator": writer}
    row = {
        **fields,
        "doc_id": make_doc_id(SOURCE, book.name, fields["text"]),
        "source": SOURCE,
        "origin": "synthetic",
        "metadata": json.dumps(metadata),
    }
    return Draft(book.name, book.record(), row, None, "")
