"""The guard sees what went wrong and nothing else, and remembers it over a checkpoint."""

import json
import math
import random

import pytest
from pydantic import ValidationError

from downstream.guard import LEAST_STEPS, Guard, GuardConfig
from pipeline.errors import StageError

BLIND = math.log(400)


def guard(**fields):
    return Guard(GuardConfig(**fields), BLIND)


def used(steps=200, **fields):
    """A guard that has seen a loss that falls as they do, with noise."""
    one, draw = guard(**fields), random.Random(3)
    for step in range(steps):
        loss = (2 + 4 * math.exp(-step / 30)) * math.exp(draw.gauss(0, 0.06))
        assert one.judge(step, loss, 0.5 * math.exp(draw.gauss(0, 0.3))) is None, step
    return one


@pytest.mark.parametrize(
    ("loss", "norm", "told"),
    [
        (math.nan, 1.0, "the loss became nan"),
        (math.inf, 1.0, "the loss became inf"),
        (12.1, 1.0, "the loss became 12.1 nats, where a blind guess has 5.991"),
        (5.0, math.nan, "the gradient's norm became nan"),
        (5.0, math.inf, "the gradient's norm became inf"),
    ],
)
def test_what_is_no_number_or_worse_than_guessing_is_seen_at_once(loss, norm, told):
    assert told in guard().judge(0, loss, norm).reason


def test_a_spike_is_seen_and_does_not_become_usual():
    one = used()
    for _ in range(200):
        assert "the loss became 5.5, 2." in one.judge(200, 5.5, 0.5).reason
        assert "gradient's norm became 30" in one.judge(200, 2.0, 30.0).reason
    assert one.judge(200, 3.5, 2.5) is None


def test_too_few_steps_tell_no_median():
    one = guard()
    for step in range(LEAST_STEPS - 1):
        assert one.judge(step, 2.0, 1.0) is None
        assert one.judge(step, 9.0, 1.0) is None
        one.losses.pop()
        one.norms.pop()
    assert one.judge(LEAST_STEPS, 2.0, 1.0) is None
    assert one.judge(LEAST_STEPS, 9.0, 1.0) is not None


def test_without_deviations_only_what_cannot_be_is_bad():
    one = used(max_deviations=None)
    assert one.judge(200, 11.0, 1e6) is None
    assert one.judge(201, math.nan, 1.0) is not None


def test_the_second_try_in_a_row_leaves_out_all_since_the_checkpoint():
    one = used()
    trouble = one.judge(205, math.nan, 1.0)
    assert one.roll_back(trouble, 200) == range(205, 206)
    assert one.roll_back(trouble, 200) == range(200, 206)
    one.tries = 0  # a checkpoint was reached
    assert one.roll_back(trouble, 200) == range(205, 206)
    assert [r["skipped_batches"] for r in one.rollbacks] == [1, 6, 1]
    assert one.rollbacks[0]["rolled_back_to_step"] == 200


def test_it_stops_after_so_many_tries_with_a_cure():
    one = guard(max_tries=2)
    trouble = one.judge(7, math.nan, 1.0)
    one.roll_back(trouble, 5)
    one.roll_back(trouble, 5)
    told = r"train: the loss became nan .* at step 7, again after 2 rollbacks; lower train\.opt"
    with pytest.raises(StageError, match=told):
        one.roll_back(trouble, 5)


def test_what_a_checkpoint_kept_judges_alike():
    one, other = used(), guard()
    other.load(json.loads(json.dumps(one.state())))
    assert other.state() == one.state()
    draw = random.Random(4)
    for _ in range(300):
        loss, norm = 2 * math.exp(draw.gauss(0, 0.3)), math.exp(draw.gauss(0, 2))
        assert one.judge(0, loss, norm) == other.judge(0, loss, norm)


@pytest.mark.parametrize("fields", [{"max_deviations": 0}, {"window_steps": 3}, {"max_tries": -1}])
def test_settings_that_cannot_be_are_refused(fields):
    with pytest.raises(ValidationError):
        GuardConfig(**fields)
