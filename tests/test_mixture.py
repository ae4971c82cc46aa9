"""Mixtures: what weights, limits and shares mean, on hand-made cells and on a made-up store."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.arms import ARMS
from pipeline.budget import check_budget, choose_budget
from pipeline.errors import StageError
from pipeline.fertility import Fertility
from pipeline.mixed_stage import Mixer
from pipeline.mixture import ArmMixture, Cell, MixtureConfig, StageMixture, share_out, share_stage
from pipeline.token_store import TokenStore
from pipeline.tokenize import TokenizeConfig

CELLS = [Cell("books", "web", False), Cell("code", "code", False), Cell("synthetic", "web", True)]
PLAIN = StageMixture()


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**6)), min_size=1, max_size=8),
    st.integers(0, 10**6),
)
def test_what_is_shared_out_sums_up_and_keeps_every_limit(vessels, budget):
    weights, limits = [w for w, _ in vessels], [n for _, n in vessels]
    found = share_out(budget, weights, limits)
    most = sum(limit for weight, limit in vessels if weight > 0)
    assert sum(found) == min(budget, most)
    assert all(0 <= n <= limit for n, limit in zip(found, limits, strict=True))
    assert all(n == 0 for n, weight in zip(found, weights, strict=True) if weight == 0)


def test_a_full_vessel_leaves_the_rest_to_the_others_in_proportion():
    assert share_out(100, [1, 1, 2], [10, 1_000, 1_000]) == [10, 30, 60]
    assert share_out(10, [1, 1, 1], [9, 9, 9]) == [4, 3, 3]


def shares(there, budget, mixture=PLAIN, source_weights=None, repeats=4):
    limits = [repeats * n for n in there]
    return share_stage(budget, CELLS, there, limits, mixture, source_weights or {})


def test_by_default_a_stage_is_made_of_what_is_there():
    assert shares([600, 300, 100], 500) == [300, 150, 50]


def test_a_weight_says_how_often_a_token_is_read_and_weights_multiply():
    there = [1_000, 1_000, 1_000]
    found = shares(there, 700, StageMixture(sources={"code": 2}, kinds={"code": 2}))
    assert found == [117, 467, 116]
    assert shares(there, 600, source_weights={"books": 4}) == [400, 100, 100]
    assert shares(there, 600, StageMixture(synthetic=4)) == [100, 100, 400]
    assert shares(there, 600, StageMixture(sources={"books": 0})) == [0, 300, 300]


def test_no_cell_is_read_too_often_and_no_source_takes_more_than_its_share():
    assert shares([100, 10_000, 100], 3_000, StageMixture(synthetic=1_000)) == [26, 2_574, 400]
    assert shares([600, 300, 100], 500, StageMixture(max_share={"books": 0.2})) == [100, 300, 100]


def test_what_cannot_be_filled_comes_back_short():
    capped = StageMixture(max_share={"books": 0.1, "code": 0.1, "synthetic": 0.1})
    assert sum(shares([600, 300, 100], 500, capped)) == 150


def store(lengths, cells, scores=None):
    """Documents of so many tokens; their places are in the order of their rows."""
    n, lengths = len(lengths), np.array(lengths)
    return TokenStore(
        None, np.dtype("<u2"), 0, np.array([f"{i:024}" for i in range(n)], "S24"),
        np.cumsum(lengths) - lengths, lengths, (np.arange(n) + 0.5) / n,
        np.array([0.5] * n if scores is None else scores, np.float32), np.array(cells), CELLS,
        Fertility(), 0,
    )  # fmt: skip


def mix(made, budget, arm="kept", config=None, repeats=4.0, share=0.25):
    mixer = Mixer(made, config or MixtureConfig(), {}, repeats, share)
    return mixer.mix(arm, np.arange(len(made.ids)), budget)


def read(stages):
    """How many tokens of each document both stages read."""
    rows = np.concatenate([stage.rows for stage in stages.values()])
    return np.bincount(rows, np.concatenate([stage.lengths for stage in stages.values()]))


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2), st.floats(0, 1, width=32)),
             min_size=1, max_size=30),
    st.sampled_from([0.4, 1, 1.7, 3.9]),
    st.sampled_from([0.1, 0.5]),
    st.sampled_from(ARMS),
)  # fmt: skip
def test_any_arm_is_filled_to_the_token_without_reading_a_cell_too_often(rows, epochs, share, arm):
    lengths, cells, scores = (list(column) for column in zip(*rows, strict=True))
    made = store(lengths, cells, scores)
    budget = max(2, int(epochs * sum(lengths)))
    stages = mix(made, budget, arm, share=share)
    assert sum(sum(stage.by_cell) for stage in stages.values()) == budget
    for stage in stages.values():
        assert stage.lengths.sum() == sum(stage.by_cell)
        assert stage.lengths.min() > 0
        assert (stage.lengths <= made.length[stage.rows]).all()
        counted = np.bincount(made.cell[stage.rows], stage.lengths, len(CELLS))
        assert counted.tolist() == stage.by_cell
    by_cell = np.bincount(made.cell, minlength=3, weights=made.length)
    total = np.sum([stage.by_cell for stage in stages.values()], axis=0)
    assert (total <= np.ceil(4 * by_cell)).all()


def test_every_document_is_read_about_equally_often():
    made = store([10] * 40, [0] * 40)
    for epochs in (1, 2, 3.5):
        counts = read(mix(made, int(400 * epochs))) / 10
        assert counts.sum() == 40 * epochs
        assert counts.min() >= int(epochs)
        assert counts.max() <= int(epochs) + 2


def test_anneal_takes_the_synthetic_then_the_best_and_the_control_takes_any():
    scores = [i / 40 for i in range(40)]
    made = store([10] * 40, [2] * 2 + [0] * 38, scores)
    best = mix(made, 200)["anneal"]
    assert sorted(best.rows) == [0, 1, 37, 38, 39]
    assert sorted(mix(made, 200, "random")["anneal"].rows) == [35, 36, 37, 38, 39]
    assert sorted(mix(store([10] * 40, [0] * 40), 200, "raw")["base"].rows) == list(range(15))


def test_a_larger_pool_lets_weights_decide_and_what_they_leave_is_read_in_base():
    made = store([10] * 40, [0, 1] * 20, [i / 40 for i in range(40)])
    tilted = MixtureConfig(anneal=StageMixture(kinds={"code": 0}), anneal_pool=2)
    stages = mix(made, 400, config=tilted, repeats=1)
    assert stages["anneal"].by_cell == [100, 0, 0]
    assert read(stages).tolist() == [10] * 40


def test_every_cell_is_spread_over_the_whole_stage():
    made = store([10] * 100, [0] * 80 + [1] * 20)
    base = mix(made, 1_000, "raw")["base"]
    quarters = np.array_split(made.cell[base.rows], 4)
    assert max(part.mean() for part in quarters) - min(part.mean() for part in quarters) < 0.11


def test_an_arm_may_have_a_mixture_of_its_own():
    config = MixtureConfig(by_arm={"raw": ArmMixture(base=StageMixture(kinds={"code": 0}))})
    assert config.of("raw", "base").kinds == {"code": 0}
    assert config.of("raw", "anneal") == config.of("kept", "base") == PLAIN
    made = store([10] * 40, [0, 1] * 20)
    assert mix(made, 200, "raw", config)["base"].by_cell == [150, 0, 0]


def test_a_mixture_that_cannot_be_filled_says_by_how_much():
    config = MixtureConfig(base=StageMixture(max_share={"books": 0.5}))
    with pytest.raises(StageError, match=r"'kept' can fill only 150 of the 300 tokens of base in"):
        mix(store([10] * 40, [0] * 40), 400, config=config)


def test_budgets_come_from_the_smallest_arm_from_tokens_or_from_parameters():
    there = {"raw": 900, "kept": 300}
    assert choose_budget(there, None, None, 20).tokens == 300
    assert choose_budget(there, 500, None, 20).facts()["tokens"] == 500
    trained = choose_budget(there, None, 50, 100).facts()
    assert (trained["tokens"], trained["times_chinchilla"]) == (5_000, 5)


def test_a_budget_that_repeats_too_much_says_how_often_it_would():
    there = {"raw": 900, "kept": 300}
    check_budget(choose_budget(there, 1_200, None, 20), there, 4)
    with pytest.raises(StageError, match=r"'kept' has 300 tokens.*40 parameters x 40 tokens.*5\.3"):
        check_budget(choose_budget(there, None, 40, 40), there, 4)
    with pytest.raises(StageError, match=r"budget of 1 tokens \(1000 parameters x 0\.001 tokens\)"):
        check_budget(choose_budget(there, None, 1_000, 0.001), there, 4)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"budget_tokens": 5_000, "budget_parameters": 5_000}, "not both"),
        ({"mixture": {"by_arm": {"rwa": {}}}}, "mixture.by_arm has 'rwa'; the arms are raw"),
        ({"mixture": {"base": {"kinds": {"prose": 1}}}}, "'web' or 'code'"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(fields, problem):
    with pytest.raises(ValueError, match=problem):
        TokenizeConfig(**fields)
