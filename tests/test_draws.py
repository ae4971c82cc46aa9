"""The plan of prompts: fixed by the seed, evenly spread, open at its end."""

import json
import time
import tracemalloc
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.curriculum import load_curriculum
from pipeline.draws import FACTORS, LEFT_OUT, Draw, Plan, word_lists
from pipeline.extracts import Extract
from pipeline.factors import AUDIENCES, STYLES, TO_COMPLETE, Factors, Level, PlanConfig
from pipeline.manifest import hash_json
from pipeline.personas import Persona
from pipeline.prompts import read_prompt, render_prompt
from pipeline.spread import ROWS, coprime_step, reversed_bits

PERSONAS = [Persona(f"someone who writes about topic {i}", f"doc{i}") for i in range(11)]
TEXTS = {
    "json-data": "import json\ndef f(x):\n    return json.dumps(json.loads(x))\n",
    "primes": "def sieve(n):\n    primes = []\n    # each prime factor\n",
    "stacks": "def f(stack):\n    stack.push(1)\n    top = stack.pop()\n    return stack.peek()\n",
}
CHOICES = ("audience", "format", "style", "difficulty", "persona")


def extracts(n=60):
    """A third on JSON, a sixth on primes, a few on stacks, and some on nothing of a curriculum."""
    kinds = ["json-data"] * 10 + ["primes"] * 5 + ["stacks"] + ["none"] * 4
    found = []
    for i in range(n):
        kind = kinds[i % len(kinds)]
        text = TEXTS.get(kind, "Lorem ipsum dolor.\n") + f"# {i}\n"
        found.append(Extract(f"doc{i}", "code", "g", None, f"topic {i}", text))
    return found


def plan(task="lesson", n=60, seed=7, **fields):
    return Plan(task, extracts(n), seed, **{
        "curriculum": load_curriculum(), "personas": PERSONAS, **fields})  # fmt: skip


@pytest.fixture(scope="module")
def shared():
    return plan()


def test_a_plan_is_the_same_in_every_process_and_release(shared):
    records = [shared.draw(slot, slot % 3).record() for slot in range(200)]
    assert hash_json(records)[:16] == "154eec5b7ee3ac10"


def test_a_slot_depends_on_no_other_and_on_no_order(shared):
    slots = [700, 3, 699, 0, ROWS + 1, 3]
    other = plan()
    drawn = {slot: other.draw(slot) for slot in slots}
    assert [shared.draw(slot) for slot in sorted(drawn)] == [drawn[slot] for slot in sorted(drawn)]
    assert shared.draw(5, 2) == other.draw(5, 2)


def test_every_pair_of_narrow_factors_comes_up_about_equally_often(shared):
    drawn = [shared.draw(slot) for slot in range(720)]
    for one, other in combinations(CHOICES, 2):
        counts = Counter((getattr(d, one), getattr(d, other)) for d in drawn)
        levels = [len(shared.shares()[name]) for name in (one, other)]
        assert len(counts) == np.prod(levels)
        expected = 720 / len(counts)
        assert max(abs(n - expected) for n in counts.values()) <= max(2, 0.35 * expected)


def test_the_topic_is_left_out_of_a_third_of_the_prompts_and_of_none_where_asked(shared):
    stated = Counter(shared.draw(slot).topic for slot in range(900))
    assert stated[LEFT_OUT] == pytest.approx(300, abs=3)
    always = plan(factors=Factors(topic_left_out_every=None))
    assert {always.draw(slot).topic for slot in range(50)} == {"stated"}


def test_extracts_words_and_skills_are_used_equally_often(shared):
    drawn = [shared.draw(slot) for slot in range(600)]
    assert set(Counter(d.extract for d in drawn).values()) <= {9, 10, 11}
    skills = Counter(d.skill for d in drawn)
    assert skills["json-data"] == pytest.approx(300, abs=3)
    assert skills["primes"] == pytest.approx(150, abs=3)
    assert skills[None] == pytest.approx(120, abs=3)
    for i, words in enumerate(word_lists()):
        assert max(Counter(d.words[i] for d in drawn).values()) <= 600 // len(words) + 3


def test_a_shorter_run_of_slots_sees_each_skill_in_its_share(shared):
    for n in (16, 64, 256):
        seen = Counter(shared.draw(slot).skill for slot in range(n))
        assert abs(seen["json-data"] - n / 2) <= 2


def test_a_further_attempt_changes_every_choice(shared):
    for slot in range(300):
        tries = [shared.draw(slot, attempt) for attempt in range(4)]
        assert len({d.prompt_id for d in tries}) == len({d.extract for d in tries}) == 4
        for name in CHOICES:
            assert len({getattr(d, name) for d in tries}) == 4, name
        assert all(len({d.words[i] for d in tries}) == 4 for i in range(3))


def test_without_a_turn_only_the_extract_changes_first_to_one_of_the_same_skill(shared):
    for slot in range(100):
        first, again = shared.draw(slot), shared.draw(slot, 1, turn=0)
        assert again.extract != first.extract
        if Counter(d.skill for d in map(shared.draw, range(60)))[first.skill] > 4:
            assert again.skill == first.skill
        kept = ("topic", *CHOICES, "words")
        assert all(getattr(first, name) == getattr(again, name) for name in kept)


@settings(deadline=None)
@given(st.integers(0, 5_000), st.integers(0, 60), st.sets(st.integers(0, 29), max_size=29))
def test_refused_extracts_are_passed_over_while_there_are_others(slot, attempt, refused):
    one = SMALL.draw(slot, attempt, refused=refused)
    assert one.extract not in refused
    assert one.doc_id == SMALL.extracts[one.extract].doc_id


SMALL = plan(n=30)


def test_where_all_extracts_are_refused_one_is_drawn_all_the_same():
    assert SMALL.draw(3, 2, refused=set(range(30))).extract in range(30)
    assert plan(n=1).draw(5, 4).extract == 0


def test_seed_and_task_make_other_plans(shared):
    for other in (plan(seed=8), plan(task="exercise", factors=Factors(format=TO_COMPLETE))):
        alike = sum(shared.draw(s).words == other.draw(s).words for s in range(50))
        assert alike < 3


def test_rows_are_turned_when_they_come_again(shared):
    early = [shared.draw(slot) for slot in range(40)]
    late = [shared.draw(slot + ROWS) for slot in range(40)]
    alike = [sum(getattr(a, n) == getattr(b, n) for n in CHOICES) for a, b in zip(early, late, strict=True)]  # fmt: skip  # noqa: E501
    assert np.mean(alike) < 2


def test_a_draw_takes_less_than_100_microseconds_and_keeps_nothing(shared):
    for slot in range(1_000):  # the rows are made once
        shared.draw(slot)
    began = time.process_time()
    for slot in range(61 * ROWS, 61 * ROWS + 1_000):
        shared.draw(slot)
    assert (time.process_time() - began) / 1_000 < 100e-6
    tracemalloc.start()
    for slot in range(62 * ROWS, 62 * ROWS + 1_000):
        shared.draw(slot)
    before = tracemalloc.get_traced_memory()[0]
    for slot in range(63 * ROWS, 63 * ROWS + 1_000):
        shared.draw(slot)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 10_000


def test_the_word_lists_hold_no_word_twice():
    for words in word_lists():
        assert len(words) == len(set(words)) == 211


@given(st.integers(1, 3_000))
def test_a_step_comes_to_every_place(size):
    step = coprime_step(size)
    assert len({i * step % size for i in range(size)}) == size


def test_reversed_bits_count_through_all_places():
    assert [reversed_bits(i, 3) for i in range(8)] == [0, 4, 2, 6, 1, 5, 3, 7]


OWN = {"name": "sailor", "instruction": "The reader sails; take examples from the sea."}


def test_a_recipe_adds_audiences_or_replaces_them():
    added = Factors.of(PlanConfig(audiences=[OWN]), "lesson")
    assert [a.name for a in added.audience] == [*(a.name for a in AUDIENCES), "sailor"]
    alone = Factors.of(PlanConfig(audiences=[OWN], replace_built_in=True), "lesson")
    assert alone.audience == (Level("sailor", OWN["instruction"]),)
    assert alone.style == STYLES
    assert Factors.of(PlanConfig(), "exercise").format == TO_COMPLETE


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"audiences": []}, "an empty list leaves nothing"),
        ({"audiences": [OWN, OWN]}, "'sailor' is named twice"),
        ({"styles": [{**OWN, "name": "story"}]}, "styles: 'story' is built in"),
        ({"styles": [{**OWN, "name": "a. b"}]}, "should match pattern"),
        ({"formats": [{"name": "poem", "instruction": ""}]}, "at least 10 characters"),
    ],
)
def test_lists_that_cannot_be_drawn_from_are_refused(fields, said):
    with pytest.raises(ValidationError, match=said) as caught:
        PlanConfig(**fields)
    assert caught.value.error_count() == 1


def test_a_prompt_states_every_choice_with_its_instruction_and_can_be_read_back(shared):
    seen = set()
    for slot in range(40):
        one = shared.draw(slot)
        extract = shared.extracts[one.extract]
        system, user = render_prompt(one, extract, shared.factors, shared.curriculum)
        choices, text = read_prompt(user["content"])
        assert text == extract.text
        assert {n: choices[n] for n in CHOICES} == {n: getattr(one, n) for n in CHOICES}
        assert choices["words"] == ", ".join(one.words)
        assert choices.get("topic") == (None if one.topic == LEFT_OUT else extract.topic)
        for name in ("audience", "format", "style", "difficulty"):
            level = next(x for x in getattr(shared.factors, name) if x.name == choices[name])
            assert f"{name}: {level.name}. {level.text}\n" in user["content"]
        assert "refusal" in system["content"]
        if one.skill == "primes":
            assert choices["skill"] == "find primes and factors"
            assert "calculate with whole numbers" in choices["known"]
        assert ("skill" in choices) == (one.skill is not None)
        seen.add(one.topic)
    assert len(seen) == 2


def test_a_logged_draw_makes_its_prompt_again_whatever_was_refused(shared):
    for slot in range(30):
        one = shared.draw(slot, slot % 4, slot % 2, refused={1, 2, 3, slot})
        logged = json.loads(json.dumps(one.record()))
        again = Draw(**{**logged, "words": tuple(logged["words"])})
        assert again == one
        told = (shared.extracts[again.extract], shared.factors, shared.curriculum)
        assert render_prompt(again, *told) == render_prompt(one, *told)


def test_an_instruction_of_a_recipe_s_own_reaches_the_prompt_in_full():
    long = {"name": "sailor", "instruction": "The reader sails. Take: " + "the sea. " * 200 + "End"}
    own = Factors.of(PlanConfig(audiences=[long], replace_built_in=True), "lesson")
    drawn = plan(factors=own)
    user = render_prompt(drawn.draw(0), drawn.extracts[0], own, None)[1]["content"]
    assert f"audience: sailor. {long['instruction']}\n" in user
    assert read_prompt(user)[0]["audience"] == "sailor"


def test_shares_are_those_of_the_plan_and_skills_without_a_usable_extract_are_left_out(shared):
    shares = shared.shares()
    assert set(shares) == {"skill", *FACTORS}
    assert all(sum(levels.values()) == pytest.approx(1) for levels in shares.values())
    stacks = {i for i, skill in enumerate(shared._skills) if skill == "stacks"}
    assert "stacks" in shares["skill"]
    assert "stacks" not in shared.shares(refused=stacks)["skill"]
