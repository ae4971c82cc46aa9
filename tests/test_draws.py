"""The plan of prompts: fixed by the seed, evenly spread, and open at its end."""

from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.draws import AUDIENCES, FORMATS, STYLES, draw, word_lists
from pipeline.manifest import hash_json

FACTORS = {"audience": AUDIENCES, "format": FORMATS, "style": STYLES}
CYCLE = len(AUDIENCES) * len(FORMATS) * len(STYLES)


def plan(slots, task="lesson", attempt=0, extracts=50, seed=7):
    return [draw(task, slot, attempt, extracts, seed) for slot in slots]


def test_a_plan_is_the_same_in_every_process_and_release():
    records = [one.record() for one in plan(range(2 * CYCLE))]
    assert hash_json(records)[:16] == "4fde698c728cf8f1"


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_a_slot_depends_on_no_other_so_a_longer_plan_begins_like_a_shorter(slots, seed):
    longer = plan(reversed(range(2 * slots)), seed=seed)[::-1]
    assert longer[:slots] == plan(range(slots), seed=seed)


@pytest.mark.parametrize("pair", list(combinations(FACTORS, 2)))
def test_every_pair_of_choices_comes_up_equally_often_in_full_cycles(pair):
    counts = Counter((getattr(d, pair[0]), getattr(d, pair[1])) for d in plan(range(3 * CYCLE)))
    wanted = product(FACTORS[pair[0]], FACTORS[pair[1]])
    assert counts == dict.fromkeys(wanted, 3 * CYCLE // len(counts))


def test_a_plan_of_any_length_gives_each_combination_as_often_give_or_take_one():
    counts = Counter((d.audience, d.format, d.style) for d in plan(range(CYCLE + CYCLE // 2)))
    assert len(counts) == CYCLE
    assert set(counts.values()) == {1, 2}


def test_the_order_of_a_cycle_is_shuffled_anew():
    factors = [(d.audience, d.format, d.style) for d in plan(range(2 * CYCLE))]
    alike = sum(one == other for one, other in zip(factors[:CYCLE], factors[CYCLE:], strict=True))
    assert alike < CYCLE // 4


def test_a_further_attempt_changes_the_choices():
    attempts = [plan(range(300), attempt=attempt) for attempt in range(5)]
    for tries in zip(*attempts, strict=True):
        assert len({(d.extract, d.words) for d in tries}) == 5
        assert len({d.prompt_id for d in tries}) == 5
        assert {(d.task, d.slot) for d in tries} == {("lesson", tries[0].slot)}
    changed = [
        (first.audience, first.format, first.style) != (again.audience, again.format, again.style)
        for first, again in zip(attempts[0], attempts[1], strict=True)
    ]
    assert sum(changed) > 0.9 * len(changed)


@given(st.integers(0, 10**7), st.integers(0, 50), st.integers(1, 5_000), st.integers(0, 2**31))
def test_a_draw_stays_within_what_there_is(slot, attempt, extracts, seed):
    one = draw("exercise", slot, attempt, extracts, seed)
    assert 0 <= one.extract < extracts
    assert one.audience in AUDIENCES
    assert one.format in FORMATS
    assert one.style in STYLES
    assert all(w in words for w, words in zip(one.words, word_lists(), strict=True))


def test_extracts_and_words_are_drawn_evenly():
    drawn = plan(range(2_000), extracts=10)
    assert all(140 < n < 260 for n in Counter(d.extract for d in drawn).values())
    verbs = Counter(d.words[0] for d in drawn)
    assert set(verbs) == set(word_lists()[0])


def test_seed_and_task_make_other_plans():
    plain, seeded, tasked = (plan(range(50), **x) for x in ({}, {"seed": 8}, {"task": "exercise"}))
    for other in (seeded, tasked):
        alike = sum(a.words == b.words for a, b in zip(plain, other, strict=True))
        assert alike < 3


def test_the_word_lists_hold_no_word_twice():
    for words in word_lists():
        assert len(words) == len(set(words)) >= 40
