"""Flaws of written texts: each planted one is found, and good human prose has few."""

import gzip
import inspect
import json
import time
from collections import Counter

import pytest

from conftest import SHARED_DATA
from pipeline.flaws import FlawsConfig, find_flaw
from pipeline.repetition import duplicate_gram_share, find_repetition, top_gram_share

LESSON = """# Searching a sorted list

A list that is sorted can be searched much faster than one that is not. Look at the middle first:
if what you want is smaller, it can only be in the left half, and otherwise in the right one.

```python
def find(items, wanted):
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


print(find([1, 3, 5, 7], 5))
```

```text
2
```

Each turn of the loop halves what is left, so a million items need twenty turns. That is why a
phone book is quick to use, even though nobody reads it from the first page on.
"""
PROMPT = """You write one piece of a textbook on programming in Python, grounded in the extract.
Write Markdown. Do not speak of the extract, of these instructions or of yourself.
audience: children. Explain every word that a child of ten would not know.
<document 0123456789abcdef>
Look at the middle first: if what you want is smaller, it can only be in the left half, and so on.
</document 0123456789abcdef>"""


def test_a_good_lesson_has_no_flaw():
    assert find_flaw(LESSON) is None
    assert find_flaw(LESSON, PROMPT) is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("too_short", "Lists are good."),
        ("chat_markers", LESSON + "\n<|im_end|>\n"),
        ("chat_markers", "### Response:\n\n" + LESSON),
        ("chat_markers", LESSON.replace("Each turn", "[/INST] Each turn")),
        ("chat_markers", "Assistant: " + LESSON),
        ("chat_markers", "<think>\nA plan.\n</think>\n" + LESSON),
        ("refusal", LESSON + "\nAs an AI language model, I have no phone book.\n"),
        ("refusal", "I'm sorry, but I can't show that.\n\n" + LESSON),
        ("refusal", LESSON.replace("Each turn", "I cannot provide more. Each turn")),
        ("leaked_prompt", LESSON + "\n</document 0123456789abcdef>\n"),
        ("leaked_prompt", "audience: children. Be kind.\nformat: lesson\n\n" + LESSON),
        ("banned_opener", "Certainly! " + LESSON[2:]),
        ("banned_opener", "**Sure, here is a lesson**\n\n" + LESSON),
        ("banned_opener", LESSON.replace("A list that", "In this lesson, we will see a list that")),
        ("banned_opener", LESSON.replace("A list that", "Let’s dive in: a list that")),
        ("repeats_itself", LESSON + "\nThe middle is the key.\n" * 8),
        ("repeats_itself", LESSON + "\nand so it goes on and on" * 3),
        ("repeats_itself", LESSON + LESSON.partition("\n")[2]),
        ("truncated", LESSON[: LESSON.index("    return low")]),
        ("truncated", LESSON.rstrip()[:-20]),
        ("truncated", LESSON + "\n## What comes next\n"),
        ("truncated", LESSON + "\n- the first thing is to look at the\n"),
        ("truncated", LESSON + "\nFor example:\n"),
        ("truncated", LESSON + "\nWe call `find(items"),
    ],
)
def test_what_is_planted_is_found(reason, text):
    found = find_flaw(text)
    assert found is not None
    assert found[0] == reason
    assert found[1]


def test_a_run_of_the_instructions_is_a_leak_and_one_of_the_extract_is_not():
    told = "grounded in the extract. Write Markdown. Do not speak of the extract, of these"
    found = find_flaw(f"{LESSON}\nThis is {told}.\n", PROMPT)
    assert found is not None
    assert found[0] == "leaked_prompt"
    assert "write markdown do not speak" in found[1]
    shorter = FlawsConfig(max_prompt_words=40)
    assert find_flaw(f"{LESSON}\nThis is {told}.\n", PROMPT, shorter) is None


def test_openers_can_be_added_and_a_longer_word_is_no_opener():
    assert find_flaw(LESSON, config=FlawsConfig(banned_openers=("A list that",)))[0] == (
        "banned_opener"
    )
    assert find_flaw(LESSON.replace("A list that", "Surely a list that")) is None


# Article 1 of the Universal Declaration of Human Rights, and what follows it
RIGHTS = {
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit "
    "Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen. ",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont "
    "doués de raison et de conscience et doivent agir les uns envers les autres. ",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados "
    "como están de razón y conciencia, deben comportarse fraternalmente los unos con los otros. ",
    "Italian": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono "
    "dotati di ragione e di coscienza e devono agire gli uni verso gli altri. ",
    "Dutch": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn "
    "begiftigd met verstand en geweten, en behoren zich jegens elkander te gedragen. ",
    "Portuguese": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. "
    "Dotados de razão e de consciência, devem agir uns para com os outros. ",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są "
    "oni obdarzeni rozumem i sumieniem i powinni postępować wobec innych. ",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены "
    "разумом и совестью и должны поступать в отношении друг друга. ",
    "Chinese": "人人生而自由，在尊严和权利上一律平等，" * 6,
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. ",
}  # fmt: skip


@pytest.mark.parametrize("language", RIGHTS)
def test_another_language_is_told_from_english_in_spite_of_code(language):
    found = find_flaw(RIGHTS[language] * 5 + LESSON[LESSON.index("```") : LESSON.index("Each")])
    assert found is not None
    assert found[0] == "wrong_language"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "b", "c", "d", "e", "f", "g", "h"] * 4, "ends in a loop: 'a b c d e f g h'"),
        (["no"] * 12, "ends in a loop: 'no'"),
        (list("abcdefghijkl"), None),
    ],
)
def test_a_loop_at_the_end_is_seen_in_few_words(words, told):
    found = find_repetition([], words)
    assert (found is None) if told is None else told in found


def test_a_long_run_that_stands_twice_is_seen_and_a_shorter_one_is_not():
    run, rest = [f"run{i}" for i in range(60)], [f"rest{i}" for i in range(600)]
    assert "a run of 60 words" in find_repetition([], [*run, *rest, *run, "end"])
    assert find_repetition([], [*run[:59], *rest, *run[:59], "end"]) is None


def test_many_blank_lines_are_read_in_no_time():
    began = time.perf_counter()
    assert find_flaw("A first line.\n" + "\n" * 30_000) is None
    assert time.perf_counter() - began < 1  # it took ten seconds


def test_shares_of_repeated_grams_are_worked_out_by_hand():
    words = ["aa", "bb", "cc", "aa", "bb", "dd"]
    assert top_gram_share(words, 2) == (8 / 12, "aa bb")
    assert duplicate_gram_share(words, 2) == 4 / 12  # the second "aa bb"
    assert duplicate_gram_share(["aa", "aa", "aa", "aa"], 2) == 6 / 8  # each character once
    assert top_gram_share(["aa", "bb"], 2) == (0, "")
    assert duplicate_gram_share([], 5) == 0


def flaws_of(texts):
    found = Counter(flaw[0] for flaw in map(find_flaw, texts) if flaw)
    return {reason: count / len(texts) for reason, count in found.items()}


def rows_of(name, field, keep=lambda row: True):
    """Every third text of 300 characters or more; `benchmarks.good_texts` looks at all."""
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip(f"there is no {path}: give it the prose")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row[field] for row in rows if keep(row) and len(row[field]) >= 300][::3]


def test_good_human_prose_is_seldom_faulted():
    news = rows_of("labelled/onestop_english.jsonl.gz", "text")
    found = flaws_of(news)
    assert len(news) > 100
    assert max(found.values(), default=0) < 0.01, found


def test_chapters_of_textbooks_are_seldom_faulted():
    chapters = rows_of(
        "web/prose.jsonl.gz", "text",
        lambda row: row["kind"] == "textbook" and len(row["text"]) < 8_900,  # not cut short
    )  # fmt: skip
    found = flaws_of(chapters)
    assert len(chapters) > 200
    assert found.pop("repeats_itself", 0) < 0.03  # chapters that tell a thing for each library
    assert max(found.values(), default=0) < 0.011, found


def test_danish_pages_are_told_from_english_ones():
    pages = rows_of("labelled/fineweb_c_danish_edu_human.jsonl.gz", "text")
    assert flaws_of(pages)["wrong_language"] > 0.97


def test_docstrings_of_people_hold_no_refusals_openers_or_leaks():
    import argparse
    import collections
    import logging
    import subprocess

    texts = [
        inspect.getdoc(thing) or ""
        for module in (argparse, collections, logging, subprocess)
        for thing in (module, *vars(module).values())
        if inspect.ismodule(thing) or inspect.isclass(thing) or inspect.isfunction(thing)
    ]
    found = flaws_of([text for text in texts if len(text) >= 300])
    assert not set(found) & {"refusal", "banned_opener", "leaked_prompt", "chat_markers"}
