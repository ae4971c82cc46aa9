"""Each claim of the survey on figures made by hand: what confirms, contradicts, or is missing."""

import pytest

from downstream.claims import (
    CONFIRMED,
    NOT_CONFIRMED,
    NOT_MEASURED,
    cache,
    decode_cut,
    faster,
    four_against_three,
    irregular,
    judge_claims,
    prefill_cut,
    products,
)


def model(kind, speed, scatter=1.0, prefill_s=1.0, **fields):
    """Decodes at `speed` tokens/s, give or take `scatter`, and reads 32 tokens in `prefill_s`."""
    return {
        "type": kind,
        "decode": [{"depth_tokens": 0, "tokens_per_s": speed, "lowest": speed - scatter,
                    "highest": speed + scatter}],
        "prefill": [{"tokens": 32, "seconds": prefill_s}, {"tokens": 512, "seconds": 99.0}],
        **fields,
    }  # fmt: skip


def by_type(*models):
    return {found["type"]: found for found in models}


def test_one_is_faster_only_where_all_repetitions_say_so():
    assert faster(model("a", 10), model("b", 7)) is True
    assert faster(model("a", 7), model("b", 10)) is False
    assert faster(model("a", 10), model("b", 8.5)) is None


@pytest.mark.parametrize(
    ("three", "verdict", "word"),
    [(7, CONFIRMED, "faster"), (9.5, NOT_CONFIRMED, "a tie"), (15, NOT_CONFIRMED, "slower")],
)
def test_four_bits_against_three(three, verdict, word):
    found, told = four_against_three(by_type(model("Q4_K_M", 10), model("Q3_K_M", three)))
    assert found == verdict
    assert word in told
    assert "Q4_K_M 10" in told


def test_one_pair_that_contradicts_is_enough():
    found, told = four_against_three(
        by_type(model("Q4_0", 20), model("Q4_K_M", 10), model("Q3_K_M", 10))
    )
    assert found == NOT_CONFIRMED
    assert told.count("Q3_K_M") == 2


@pytest.mark.parametrize(
    ("speed", "verdict"),
    [(12, NOT_CONFIRMED), (13, CONFIRMED), (39, CONFIRMED), (41, NOT_CONFIRMED)],
)
def test_latency_a_token_falls_by_17_to_75_percent(speed, verdict):
    """From 10 tokens/s: 12 are a cut of 16.7 %, 40 one of 75."""
    found, told = decode_cut(by_type(model("F16", 10), model("Q8_0", 20), model("Q4_0", speed)))
    assert found == verdict
    assert "Q8_0 50%" in told


@pytest.mark.parametrize(("seconds", "verdict"), [(0.75, CONFIRMED), (0.76, NOT_CONFIRMED)])
def test_prefill_falls_by_a_quarter_for_short_prompts(seconds, verdict):
    found, told = prefill_cut(by_type(model("F16", 1), model("Q8_0", 1, prefill_s=seconds)))
    assert found == verdict
    assert "prompt of 32 tokens" in told  # not that of 512, which is not short


@pytest.mark.parametrize(("speed", "verdict"), [(9.5, CONFIRMED), (11, NOT_CONFIRMED)])
def test_five_and_six_bits_are_no_faster_than_eight(speed, verdict):
    found, _ = irregular(
        by_type(model("Q8_0", 10), model("Q6_K", 8), model("Q5_K_M", speed), model("Q4_0", 90))
    )
    assert found == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.71, CONFIRMED), (0.7, NOT_CONFIRMED)])
def test_products_over_70_percent(share, verdict):
    matrix = {"product_share": share, "attention_share": 0.05}
    found, told = products(
        by_type(model("F16", 1, matrix={**matrix, "product_share": 0.9}),
                model("Q4_0", 1, matrix=matrix), model("Q8_0", 1, matrix=None))
    )  # fmt: skip
    assert found == verdict
    assert "F16 90% (attention 5%)" in told


@pytest.mark.parametrize(("share", "verdict"), [(0.81, CONFIRMED), (0.8, NOT_CONFIRMED)])
def test_the_cache_over_80_percent_is_judged_as_measured_not_as_computed(share, verdict):
    points = [
        {"context_tokens": 4_096, "kv_share": 0.1, "kv_share_computed": 0.1},
        {"context_tokens": 32_000, "kv_share": share, "kv_share_computed": 0.99},
    ]
    found, told = cache(by_type(model("Q4_0", 1, memory=points)))
    assert found == verdict
    assert "99%" in told
    unfit = [{**points[1], "kv_share": None}]
    assert cache(by_type(model("Q4_0", 1, memory=unfit)))[0] == NOT_MEASURED


def test_what_was_not_measured_is_neither_confirmed_nor_refuted():
    told = judge_claims(
        [{"type": "F16", "decode": [], "prefill": [], "memory": [], "matrix": None}]
    )
    assert len(told) == 6
    assert {claim["verdict"] for claim in told} == {NOT_MEASURED}
    assert all(claim["figures"] for claim in told)
