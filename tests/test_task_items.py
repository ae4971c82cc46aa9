"""What is asked of tasks and what two models' items say; nothing of lm-eval is loaded."""

import pytest
from pydantic import ValidationError
from small_language_model import small_model

from downstream.task_config import TaskConfig, TasksConfig
from downstream.tasks import paired_difference, score_tasks
from pipeline.errors import InputError


def test_settings_that_cannot_hold_are_refused():
    wrong = [
        {"name": "gsm8k", "path": "a", "samples": 2},
        {"name": "humaneval", "path": "a", "shots": 1},
        {"name": "no_such_task", "path": "a"},
        {"name": "piqa", "path": "a", "limit": 0},
    ]  # fmt: skip
    for fields in wrong:
        with pytest.raises(ValidationError):
            TaskConfig(**fields)
    with pytest.raises(ValidationError, match="stands twice"):
        TasksConfig(tasks=[{"name": "piqa", "path": "a"}] * 2)


def test_a_file_or_model_that_is_not_there_is_refused_before_anything_runs(tmp_path):
    config = TasksConfig(tasks=[TaskConfig(name="piqa", path=str(tmp_path / "none.jsonl"))])
    with pytest.raises(InputError, match=r"none\.jsonl is not there"):
        score_tasks(small_model()[1], config, tmp_path / "scratch", 1)
    with pytest.raises(InputError, match="is no model"):
        score_tasks(tmp_path, config, tmp_path / "scratch", 1)


def item(number, value, metric="acc", task="piqa"):
    scores = [] if value is None else [{"metric": metric, "value": value}]
    return {"task": task, "shots": 0, "item": number, "scores": scores}


def test_models_are_compared_by_the_items_of_both():
    ours_ = [item(0, 1.0), item(1, 1.0), item(2, 0.0), item(3, 1.0), item(4, None)]
    theirs = [item(4, 1.0), item(3, 0.0), item(2, 0.0), item(1, 1.0), item(0, 0.0), item(9, 1.0)]
    (told,) = paired_difference(ours_, theirs)
    # differences 1, 0, 0, 1
    assert told["difference"] == 0.5
    assert told["stderr"] == pytest.approx((1 / 3 / 4) ** 0.5)
    assert (told["n"], told["left_out"]) == (4, 2)
    (swapped,) = paired_difference(theirs, ours_)
    assert (swapped["difference"], swapped["stderr"]) == (-0.5, told["stderr"])


def test_only_the_same_tasks_and_metrics_are_compared():
    ours_ = [item(0, 1.0), item(0, 1.0, "acc_norm"), item(0, 1.0, task="copa")]
    theirs = [item(0, 0.0), item(0, 0.0, task="boolq")]
    told = paired_difference(ours_, theirs)
    assert [(row["task"], row["metric"], row["n"], row["stderr"]) for row in told] == [
        ("piqa", "acc", 1, None)
    ]
