"""What the teacher would be asked is told for every part of the plan, before any call."""

from pathlib import Path

import pytest

from flows.estimate import estimate_teacher
from flows.journey import plan_journey
from flows.recipe import load_recipe

SMOKE = Path(__file__).resolve().parents[1] / "recipes" / "smoke.yaml"


@pytest.fixture
def estimated(tmp_path):
    def estimate(*changes):
        recipe = load_recipe(SMOKE, changes)
        rows = estimate_teacher(recipe, plan_journey(recipe, tmp_path / "not-begun"))
        return {row.what: row for row in rows if row.stage == "synthesize"}

    return estimate


def test_every_task_that_is_asked_for_has_its_row(estimated):
    found = estimated(
        "synthesize.textbooks=7", "synthesize.exercises=0", "synthesize.rephrased=3",
        "synthesize.instructions=2", "synthesize.book.books=2", "synthesize.book.max_sections=5",
    )  # fmt: skip
    calls = {what: row.calls for what, row in found.items()}
    assert calls == {
        "lessons": 7, "outlines": 2, "sections": 10, "rephrases": 3, "instructions": 2,
        "weighed by the rubric": 14,
    }  # fmt: skip
    assert all(row.calls <= row.most_calls for row in found.values())


def test_what_the_plan_itself_asks_is_estimated_too(estimated):
    assert "personas" not in estimated()
    found = estimated(
        "synthesize.plan.curriculum=from corpus", "synthesize.plan.curriculum_clusters=30",
        "synthesize.plan.personas_by_teacher=true", "synthesize.plan.max_personas=12",
    )  # fmt: skip
    assert (found["names of clusters"].calls, found["personas"].calls) == (30, 12)
    assert found["names of clusters"].answer_tokens == 1_500
    assert 500 < found["names of clusters"].prompt_tokens < 2_000


def test_hours_follow_the_narrowest_of_the_limits(estimated):
    wide = estimated("synthesize.textbooks=1000", "teacher.max_concurrency=100")["lessons"]
    slow = estimated("synthesize.textbooks=1000", "teacher.max_concurrency=100",
                     "teacher.requests_per_minute=1")["lessons"]  # fmt: skip
    assert slow.hours(1_000) == pytest.approx(1_000 / 60)
    assert wide.hours(1_000) == pytest.approx(1_000 * wide.answer_tokens / 50 / 100 / 3_600)
