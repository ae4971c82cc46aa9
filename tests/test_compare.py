"""`primer compare` on two real small models, judged by the stand-in over the real protocol."""

import json
from pathlib import Path

import pytest
from small_handoff import random_model, write_model

from downstream.judge import SCHEMA_NAME, _question
from flows.compare import compare_models
from flows.recipe import load_recipe
from pipeline import standin_verdict
from pipeline.errors import InputError
from pipeline.standin_server import answer

GOOD = (
    "# Loops\n\nA loop is a way to repeat work. For example, the program below prints each name, "
    "because the body runs once for every item. That means that a longer list takes longer.\n"
)
POOR = "name name name name name name name name name name name name name name name name"


def verdict(first, second):
    return answer(SCHEMA_NAME, list(_question("What is a loop?", first, second).messages))


def test_the_stand_in_judges_by_what_stands_in_an_answer_and_not_by_its_place():
    assert standin_verdict.SCHEMA_NAME == SCHEMA_NAME
    assert verdict(GOOD, POOR)["better"] == "first"
    assert verdict(POOR, GOOD)["better"] == "second"
    assert verdict(POOR, POOR.replace("name", "word"))["better"] == "tie"


@pytest.fixture
def models(tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        write_model(tmp_path / name, random_model(hidden=64, seed=seed))
    return [tmp_path / "one", tmp_path / "two"]


def write_prompts(folder, *lines):
    path = folder / "prompts.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.mark.long
def test_models_answer_are_judged_in_both_orders_and_rated(models, tmp_path, capsys):
    prompts = write_prompts(tmp_path, *(json.dumps({"prompt": f"def f{i}(x):"}) for i in range(3)))
    recipe = load_recipe(Path("recipes/smoke.yaml"))
    for _ in range(2):  # the second time nothing is paid for again
        compare_models(models, prompts, recipe, tmp_path / "out", 24, threads=1)
    told = json.loads((tmp_path / "out" / "ratings.json").read_text())
    assert [row["games"] for row in told["ratings"]] == [3, 3]
    assert {row["model"] for row in told["ratings"]} == {"one", "two"}
    assert told["judging"]["pairs"] == 3
    assert told["judging"]["orders_disagree"] == 0
    assert "stand-in" in told["judge"]
    assert "3 pairs" in capsys.readouterr().out
    answers = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in answers] == [{"prompt", "one", "two"}] * 3


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((), "holds no prompt"),
        (("def f():",), "line 1 of .*'def f"),
        (('{"prompt": 3}',), "line 1"),
    ],
)
def test_prompts_that_are_none_are_one_line(models, tmp_path, lines, told):
    with pytest.raises(InputError, match=told):
        compare_models(models, write_prompts(tmp_path, *lines), None, tmp_path / "out", 8, 1)


def test_a_model_that_is_missing_or_named_twice_is_one_line(models, tmp_path):
    for wrong in ([models[0], tmp_path / "nowhere"], [models[0], models[0]], models[:1]):
        with pytest.raises(InputError, match=r"there is no model|one twice"):
            compare_models(wrong, tmp_path / "p", None, tmp_path / "out", 8, 1)
