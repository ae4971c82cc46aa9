"""Books by the real stand-in on real functions: the outline, the sections, and how books end."""

import copy
import itertools
import json

import pytest
from pydantic import ValidationError
from standin_answers import ask, functions_of, read

from pipeline.book import Book, next_questions, take
from pipeline.book_materials import gather_materials
from pipeline.book_outline import (
    SCHEMA,
    BookConfig,
    flaw_of_outline,
    read_enclosed,
    read_outline,
)
from pipeline.book_section import chars_of
from pipeline.book_text import book_row
from pipeline.draws import Plan
from pipeline.extracts import Extract
from pipeline.flaws import FlawsConfig
from pipeline.judge_piece import Judged
from pipeline.rubrics import enclose

CONFIG = BookConfig(max_sections=4)
MATERIALS = functions_of("urllib/parse.py")[6:]
DRAWS = Plan("book", MATERIALS, 7)
FLAWS = FlawsConfig()
OUTLINE = {
    "title": "Lists",
    "sections": [
        {"title": "Items", "teaches": "What an item is.", "terms": ["item"], "needs": [],
         "material": 1},
        {"title": "Loops", "teaches": "How to loop.", "terms": ["loop", "body"], "needs": ["Item"],
         "material": 2},
        {"title": "Slices", "teaches": "How to slice.", "terms": ["slice"], "needs": ["loop"],
         "material": 1},
    ],
    "refusal": None,
}  # fmt: skip
MORE = " ".join(f"The {chr(97 + i % 26) * (2 + i // 26)} is new." for i in range(900)) + "\n"


def new_book(slot=0, config=CONFIG, materials=MATERIALS, flaws=FLAWS):
    return Book(
        slot,
        materials,
        lambda part, turn: DRAWS.draw(slot * 32 + part, turn),
        config,
        4_000,
        DRAWS.factors,
        flaws,
    )


def go_on(books, sandbox, answer=ask, twin_of=lambda _: None):
    """Rounds until every book has ended; returns the questions that were asked."""
    asked = []
    while questions := next_questions(books):
        answers = [answer(question) for question in questions]
        still = [book for book in books if book.state == "open"]
        verdicts = [b.judge(a, sandbox) for b, a in zip(still, answers, strict=True)]
        take(books, answers, verdicts, twin_of)
        asked += questions
    return asked


@pytest.fixture(scope="module")
def finished(sandbox):
    book = new_book()
    asked = go_on([book], sandbox)
    assert book.state == "kept", book.ended_by
    return book, asked


def test_a_book_is_one_document_with_its_structure_kept(finished):
    book, _ = finished
    row = book_row(book)
    text, told = row["text"], row["metadata"]
    assert text.startswith(f"# {told['outline']['title']}\n")
    assert text.count("\n## ") == len(told["sections"]) + 1  # and the glossary
    for number, section in enumerate(told["sections"], 1):
        part = text[section["start"] : section["end"]]
        assert part.startswith(f"## {number}. {section['title']}\n")
        assert "\n## " not in part
        assert all(term in part for term in section["terms"])
        assert section["grounded_in"] == MATERIALS[0].doc_id
    assert told["complete"]
    assert len(told["sections"]) == len(told["outline"]["sections"]) == 4
    glossary = text.rpartition("## Glossary\n\n")[2].splitlines()
    assert glossary == [f"- **{term}**: {meaning}" for term, meaning in told["glossary"].items()]
    assert (row["licence"], row["group"]) == ("PSF-2.0", MATERIALS[0].group)
    assert len(text) <= CONFIG.max_chars
    json.dumps(told)  # it is stored as JSON


def test_each_question_shows_what_was_taught_before(finished):
    book, asked = finished
    sections = [q for q in asked if q.schema_name == "book_section"]
    for question in sections:
        part = int(question.key.split("-")[2])
        plan = json.loads(read_enclosed(question.messages[-1]["content"])[0])
        taught = {t: m for one in book.written[: part - 1] for t, m in one.terms.items()}
        assert plan["taught so far"] == taught
        assert bool(plan["the last section ended"]) == (part > 1)
        assert [s["title"] for s in plan["sections"]] == [s.title for s in book.outline.sections]
        material = book.materials[book.outline.sections[part - 1].material]
        assert read_enclosed(question.messages[-1]["content"])[1] == material.text
    assert any(one.needs for one in book.outline.sections)


def test_every_draft_is_accounted_for_and_the_audience_is_kept(finished):
    book, asked = finished
    drafts = book.drafts()
    assert [one.draw.prompt_id for one in drafts] == [question.key for question in asked]
    assert len({q.key for q in asked}) == len(asked)
    standing = [one for one in drafts if one.reason is None]
    assert len(standing) == 1 + len(book.written)
    assert len({one.draw.audience for one in drafts}) == 1
    assert len({one.draw.words for one in drafts}) > 1
    assert book.executed >= len(book.written)


def test_the_order_of_other_books_and_a_new_start_change_nothing(finished, sandbox):
    book, _ = finished
    one, other = new_book(), new_book(1, materials=MATERIALS[::-1])
    go_on([other, one], sandbox)
    assert book_row(one) == book_row(book)
    assert one.drafts() == book.drafts()


def test_a_section_that_says_the_last_one_again_is_asked_for_anew_and_the_book_ends_early(
    finished, sandbox
):
    """The third section is the second again, whatever the draw: two of four are too few."""
    book, _ = finished

    def parrot(question):
        answer = ask(question)
        if question.key.split("-")[2] != "03":
            return answer
        again = copy.deepcopy(answer.content)
        terms = " and ".join(one["term"] for one in again["terms"])
        again["text"] = f"{book.written[1].text}\nThis was {terms}.\n"
        return read(question, again)

    repeating = new_book()
    asked = go_on([repeating], sandbox, parrot)
    assert (repeating.state, repeating.ended_by[0]) == ("dropped", "repeats_earlier_section")
    assert [q.key[-4:] for q in asked[-3:]] == ["03-0", "03-1", "03-2"]
    assert len({q.messages[-1]["content"] for q in asked[-3:]}) == 3
    assert "a draft before this one was rejected (repeats" in asked[-1].messages[-1]["content"]
    reasons = [one.reason for one in repeating.drafts()]
    assert reasons.count("book_dropped") == 3  # the outline and two sections
    assert reasons[-3:] == ["repeats_earlier_section"] * 3
    small = BookConfig(max_sections=4, min_sections=2)
    short = new_book(config=small)
    go_on([short], sandbox, parrot)
    assert short.state == "kept"
    told = book_row(short)["metadata"]
    assert (told["complete"], told["ended_by"]) == (False, "repeats_earlier_section")
    assert len(told["sections"]) == 2
    assert None in [one.reason for one in short.drafts()]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda c: c.update(terms=[]), "term_not_taught"),
        (lambda c: c.update(text=c["text"].replace("print(", "prin(")), "code_failed"),
        (lambda c: c.update(text=c["text"].replace("```text\n", "```text\n9")), "output_differs"),
        (lambda c: c.update(text=c["text"] + MORE), "too_long"),
        (lambda c: c.update(text="", refusal="nothing here"), "nothing_to_teach"),
        (lambda c: c.update(text=c["text"] + enclose("x")), "leaked_prompt"),
    ],
)
def test_a_spoilt_section_is_rejected_with_its_reason(sandbox, spoil, reason):
    book = new_book()
    outline = ask(book.question())
    take([book], [outline], [book.judge(outline, sandbox)])
    answer = ask(book.question())
    assert book.judge(answer, sandbox).reason is None
    spoil(answer.content)
    assert book.judge(answer, sandbox).reason == reason


def test_what_a_recipe_forbids_is_forbidden_in_books_too(sandbox):
    book = new_book(flaws=FlawsConfig(banned_openers=("the first of",)))
    outline = ask(book.question())
    take([book], [outline], [book.judge(outline, sandbox)])
    assert book.judge(ask(book.question()), sandbox).reason == "banned_opener"


def test_terms_of_later_sections_are_flagged(finished, sandbox):
    book, _ = finished
    late = book.outline.sections[-1].terms[0]

    def early(question):
        answer = ask(question)
        if "-01-" in question.key:
            answer.content["text"] += f"\nMore of this when we come to {late}.\n"
        return answer

    flagged = new_book()
    go_on([flagged], sandbox, early)
    assert late in book_row(flagged)["metadata"]["sections"][0]["early_terms"]
    assert late not in book.written[0].early_terms


def test_a_near_copy_of_an_accepted_piece_is_no_section(sandbox):
    book = new_book()
    go_on([book], sandbox, twin_of=lambda text: ("abc", 0.93) if text else None)
    assert book.state == "dropped"
    assert book.ended_by == ("near_copy", "of abc, similarity 0.93")


def test_a_finished_book_can_be_dropped_with_all_its_drafts(sandbox):
    book = new_book()
    go_on([book], sandbox)
    book.drop("near_copy", "of xyz")
    assert {one.reason for one in book.drafts()} >= {"book_dropped"}
    assert all(one.reason for one in book.drafts())


def test_answers_that_cannot_be_read_count_as_failed(sandbox):
    book = new_book()
    go_on([book], sandbox, lambda question: read(question, {"title": 3}))
    assert book.state == "dropped"
    assert [(d.reason, d.failed) for d in book.drafts()] == [("wrong_schema", True)] * 3


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda s: s.pop(), "too_few_sections"),
        (lambda s: s.extend(s[:2] * 2), "too_many_sections"),
        (lambda s: s[1].update(title=" items "), "titles_not_distinct"),
        (lambda s: [one.update(needs=[]) for one in s], "nothing_builds_on_another"),
        (lambda s: s[0].update(needs=["slice"]), "needs_out_of_order"),
        (lambda s: s[1].update(needs=["tree"]), "needs_never_taught"),
        (lambda s: s[2].update(terms=["BODY"]), "term_introduced_twice"),
        (lambda s: s[0].update(terms=[]), "terms_missing_or_many"),
        (lambda s: s[0].update(material=3), "no_such_material"),
        (lambda s: None, None),
    ],
)
def test_outlines_are_judged(spoil, reason):
    content = copy.deepcopy(OUTLINE)
    spoil(content["sections"])
    flaw = flaw_of_outline(read_outline(content), 2, CONFIG)
    assert (flaw and flaw[0]) == reason


def test_materials_that_show_nothing_are_refused(sandbox):
    silent = [Extract("d", "code", "g", None, "f", f"def f{i}(x):\n    return None\n")
              for i in range(4)]  # fmt: skip
    book = new_book(materials=silent)
    asked = go_on([book], sandbox)
    assert book.state == "dropped"
    assert book.has_nothing_to_teach
    assert len(asked) == 1  # the same materials would be refused again
    assert set(SCHEMA["required"]) == {"title", "sections", "refusal"}


def test_shelves_hold_each_extract_once_and_keep_groups_together():
    extracts = functions_of("urllib/parse.py", "posixpath.py", "difflib.py", "fnmatch.py")
    shelves = gather_materials(extracts, 3, 5, seed=7)
    held = list(itertools.chain(*shelves))
    assert len(held) == len(set(held))
    assert all(3 <= len(shelf) <= 5 for shelf in shelves)
    mixed = [shelf for shelf in shelves if len({one.group for one in shelf}) > 1]
    assert len(mixed) <= 1
    assert shelves == gather_materials(extracts, 3, 5, seed=7)
    assert shelves != gather_materials(extracts, 3, 5, seed=8)


def test_licences_of_a_book_are_joined_and_never_guessed(sandbox):
    def licensed(last):
        found = [Extract(m.doc_id, m.kind, m.group, "MIT" if i % 2 else last, m.topic, m.text)
                 for i, m in enumerate(MATERIALS)]  # fmt: skip
        book = new_book(materials=found)
        go_on([book], sandbox)
        return book_row(book)["licence"]

    assert licensed("Apache-2.0") == "Apache-2.0 AND MIT"
    assert licensed(None) is None


def test_a_book_stays_within_its_bound_when_every_section_fills_its_share():
    config = BookConfig(max_sections=4, max_chars=5_000)
    book = new_book(config=config, materials=MATERIALS[:2])
    outline = copy.deepcopy(OUTLINE)
    for number, one in enumerate(outline["sections"]):
        one["title"] = f"{number}".ljust(120, "x")
    outline["title"] = "y" * 200
    take([book], [read(book.question(), outline)], [Judged(None, "", 0)])
    while book.state == "open":
        content = {"text": "", "terms": [{"term": t, "meaning": "m" * 200} for t in
                   book.outline.sections[len(book.written)].terms], "refusal": None}  # fmt: skip
        content["text"] = "z" * (book.section_chars - chars_of(content))
        assert chars_of(content) == book.section_chars
        take([book], [read(book.question(), content)], [Judged(None, "", 0)])
    assert book.state == "kept"
    assert 4_000 < len(book_row(book)["text"]) <= config.max_chars


@pytest.mark.parametrize("wrong", [{"min_sections": 9, "max_sections": 8}, {"max_chars": 9_000}])
def test_a_config_without_room_for_its_sections_is_refused(wrong):
    with pytest.raises(ValidationError, match=r"above max_sections = 8|leaves too little for 12"):
        BookConfig(**wrong)


def test_what_is_enclosed_cannot_close_itself():
    inner = enclose("a page")
    message = f"topic: x\n{enclose(inner)}\nmaterial:\n{enclose('other')}"
    assert read_enclosed(message) == [inner, "other"]
