"""Coverage of pairs: counted by hand, over a real plan, and after rejections."""

import io
import json
import random

import pytest

from pipeline.coverage import measure_coverage, plot_coverage
from pipeline.curriculum import load_curriculum
from pipeline.draws import FACTORS, Plan
from pipeline.extracts import Extract
from pipeline.personas import Persona

SLOTS = 2_000


def record(one, other, extract=0):
    return {"one": one, "other": other, "words": ["a", "b", "c"], "extract": extract}


HALVES = {"x": 0.5, "y": 0.5}


def test_pairs_are_counted_against_what_so_many_pieces_can_have():
    shares = {"one": HALVES, "other": {"p": 0.25, "q": 0.25, "r": 0.5}, "noun": {"b": 1.0}}
    report = measure_coverage([record("x", "p"), record("x", "r"), record("x", "p")], shares)
    (row,) = report["pairs"]
    assert row["factors"] == ["one", "other"]
    # 3 pieces: four cells of 0.375 and two of 0.75 give 3 pairs, of which 2 occur
    assert (row["allowed"], row["occur"], row["share"]) == (3, 2, pytest.approx(2 / 3))
    assert report["factors"] == {"one": {"x": 3, "y": 0}, "other": {"p": 2, "q": 0, "r": 1}}
    assert report["extracts"]["most_often"] == 3


def test_all_pairs_equally_often_is_full_and_even():
    shares = {"one": HALVES, "other": HALVES}
    records = [record(a, b, i) for i, (a, b) in enumerate(4 * [(p, q) for p in "xy" for q in "xy"])]
    report = measure_coverage(records, shares)
    assert report["share"] == report["lowest_share"] == report["pairs"][0]["evenness"] == 1
    uneven = measure_coverage(records[:4] + [record("x", "x")] * 12, shares)
    assert uneven["share"] == 1
    assert uneven["pairs"][0]["evenness"] < 0.7


def test_levels_that_are_none_of_the_plan_count_for_no_pair():
    report = measure_coverage([record("x", "z")], {"one": HALVES, "other": HALVES})
    assert report["pairs"][0]["occur"] == 0


def test_nothing_is_covered_by_nothing():
    report = measure_coverage([], {"one": HALVES, "other": HALVES})
    assert (report["pieces"], report["share"]) == (0, None)
    assert json.loads(json.dumps(report)) == report
    plot_coverage(report)


@pytest.fixture(scope="module")
def plan():
    curriculum = load_curriculum()
    pick = random.Random(1)
    extracts = []
    for i in range(1_200):
        skill = curriculum.skills[int(len(curriculum.skills) * pick.random() ** 2)]
        text = f"{' '.join(sorted(skill.terms))} number {i}"
        extracts.append(Extract(f"doc{i}", "code", "g", None, skill.name, text))
    personas = [Persona(f"someone who writes about {i}", f"doc{i}") for i in range(40)]
    return Plan("lesson", extracts, 7, curriculum=curriculum, personas=personas)


def test_a_plan_has_nearly_all_pairs_that_it_allows_and_far_more_than_chance(plan):
    planned = measure_coverage((plan.draw(i).record() for i in range(SLOTS)), plan.shares())
    assert planned["share"] > 0.985
    assert planned["lowest_share"] > 0.93
    assert planned["extracts"]["used"] > 1_100

    pick = random.Random(2)
    levels = dict(zip(FACTORS, plan._levels, strict=True))

    def chance():
        extract = pick.randrange(len(plan.extracts))
        chosen = {name: pick.choice(names) for name, names in levels.items()}
        words = [chosen.pop(name) for name in ("verb", "noun", "adjective")]
        return {"extract": extract, "skill": plan._skills[extract], "words": words, **chosen}

    drawn = measure_coverage((chance() for _ in range(SLOTS)), plan.shares())
    assert drawn["share"] < 0.92
    narrow = {"audience", "format", "style", "difficulty", "persona"}
    rows = zip(planned["pairs"], drawn["pairs"], strict=True)
    assert all(a["evenness"] > b["evenness"] for a, b in rows if set(a["factors"]) <= narrow)


def test_after_rejections_95_percent_of_the_pairs_are_still_there(plan):
    """Half of the extracts teach nothing, and a tenth of the pieces are near copies."""
    pick = random.Random(3)
    barren = {i for i in range(len(plan.extracts)) if pick.random() < 0.5}
    refused, accepted = set(), []
    open_slots = [(slot, 0, 0) for slot in range(SLOTS)]
    for _ in range(8):
        again, found = [], set()
        for slot, attempt, turn in open_slots:
            one = plan.draw(slot, attempt, turn, refused)
            if one.extract in barren:
                found.add(one.extract)
                again.append((slot, attempt + 1, turn))
            elif pick.random() < 0.1:
                again.append((slot, attempt + 1, turn + 1))
            else:
                accepted.append(one.record())
        refused |= found
        open_slots = again
    report = measure_coverage(accepted, plan.shares(refused))
    assert report["pieces"] > 0.99 * SLOTS
    assert report["share"] > 0.95


def test_the_heat_map_is_the_same_each_time_and_says_nothing_of_the_machine(plan):
    report = measure_coverage((plan.draw(i).record() for i in range(100)), plan.shares())
    pictures = []
    for _ in range(2):
        held = io.BytesIO()
        plot_coverage(report).savefig(held, format="png", dpi=60, metadata={"Software": None})
        pictures.append(held.getvalue())
    assert pictures[0] == pictures[1]
    assert b"Software" not in pictures[0]
