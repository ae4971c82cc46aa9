"""The gate: what may be lost, what is not asked, and what the whole run is told."""

import pytest
from pydantic import ValidationError

from downstream.gate import GateConfig, judge, verdict_of_run


def model(kind, bits=1.0, arm="raw", mib=1.0, **fields):
    return {"arm": arm, "type": kind, "bits_per_byte": bits, "file_mib": mib, **fields}


def judged(config, *models):
    judge(models, config)
    return {(found["arm"], found["type"]): found for found in models}


@pytest.mark.parametrize(
    ("bits", "verdict"), [(1.05, "promote"), (1.0501, "hold"), (0.9, "promote")]
)
def test_bits_per_byte_are_held_to_the_limit(bits, verdict):
    found = judged(GateConfig(), model("F16"), model("Q4_0", bits))
    assert found["raw", "Q4_0"]["verdict"] == verdict
    assert found["raw", "Q4_0"]["lost_bits_per_byte"] == pytest.approx(bits - 1)
    assert found["raw", "F16"]["verdict"] == "promote"


def test_a_loss_is_against_f16_of_the_same_arm():
    found = judged(
        GateConfig(), model("F16"), model("F16", 2.0, "kept"), model("Q4_0", 2.01, "kept"),
        model("Q4_0", 2.01),
    )  # fmt: skip
    assert found["kept", "Q4_0"]["verdict"] == "promote"
    assert found["raw", "Q4_0"]["verdict"] == "hold"
    assert "1.01, limit 0.05" in found["raw", "Q4_0"]["reasons"][0]


@pytest.mark.parametrize(
    ("limits", "name"),
    [({"max_kl_nats": 0.1}, "KL"), ({"min_top1_agreement": 0.9}, "top-1")],
)
def test_likeness_is_held_to_its_limits(limits, name):
    config = GateConfig(max_lost_bits_per_byte=None, **limits)
    good = {"kl_mean_nats": 0.1, "top1_agreement": 0.9}
    bad = {"kl_mean_nats": 0.11, "top1_agreement": 0.89}
    found = judged(
        config, model("F16"), model("Q8_0", 9.0, likeness=good), model("Q4_0", likeness=bad)
    )
    assert found["raw", "Q8_0"]["verdict"] == "promote"  # bits per byte are not asked
    assert found["raw", "Q4_0"]["verdict"] == "hold"
    assert name in found["raw", "Q4_0"]["reasons"][0]


def scores(value, stderr):
    return [{"task": "arc", "metric": "acc", "value": value, "stderr": stderr}]


@pytest.mark.parametrize(
    ("value", "stderr", "verdict"),
    [
        (0.47, 0.001, "promote"),  # within the limit
        (0.40, 0.001, "hold"),
        (0.40, 0.05, "promote"),  # beyond the limit, and within two standard errors
        (0.30, 0.05, "hold"),
    ],
)
def test_accuracy_may_fall_by_the_limit_or_by_noise(value, stderr, verdict):
    config = GateConfig(max_lost_accuracy=0.05)
    found = judged(
        config, model("F16", tasks=scores(0.5, stderr)), model("Q4_0", tasks=scores(value, stderr))
    )
    assert found["raw", "Q4_0"]["verdict"] == verdict


def test_what_was_not_measured_holds_nothing_back_and_is_said():
    config = GateConfig(max_kl_nats=0.1, max_lost_accuracy=0.1)
    found = judged(config, model("F16", None), model("Q4_0", None))["raw", "Q4_0"]
    assert found["verdict"] == "promote"
    assert found["lost_bits_per_byte"] is None
    assert len(found["reasons"]) == 3
    assert all("not measured" in reason for reason in found["reasons"])


def test_a_task_without_a_score_holds_nothing_back_and_is_said():
    """No item of it fits the context of one of the two."""
    config = GateConfig(max_lost_accuracy=0.05)
    for before, after in ((None, None), (0.5, None), (None, 0.5)):
        found = judged(
            config,
            model("F16", tasks=scores(before, None)),
            model("Q4_0", tasks=scores(after, None)),
        )["raw", "Q4_0"]
        assert found["verdict"] == "promote"
        assert found["reasons"] == ["arc acc: not measured"]


def test_a_figure_that_is_no_number_is_held_back():
    config = GateConfig(max_kl_nats=0.1)
    broken = model("Q4_0", likeness={"kl_mean_nats": float("nan"), "top1_agreement": 0.0})
    assert judged(config, model("F16"), broken)["raw", "Q4_0"]["verdict"] == "hold"


def test_without_f16_there_is_no_verdict():
    found = judged(GateConfig(), model("Q4_0"))["raw", "Q4_0"]
    assert found["verdict"] is None
    assert "no F16" in found["reasons"][0]
    assert verdict_of_run([found])["verdict"] is None


def test_a_run_is_promoted_when_every_arm_has_a_type_that_passes():
    good = [
        model("F16"), model("Q8_0", 1.0, mib=0.9), model("Q4_0", 1.04, mib=0.5),
        model("Q2_K", 1.5, mib=0.3),
    ]  # fmt: skip
    judge(good, GateConfig())
    told = verdict_of_run(good)
    assert told["verdict"] == "promote"
    assert told["recommended"] == {"raw": "Q4_0"}  # the smallest that passes
    assert told["reasons"] == ["raw Q2_K: bits per byte lost: 0.5, limit 0.05"]
    bad = [model("F16", arm="kept"), model("Q4_0", 2.0, "kept")]
    judge(bad, GateConfig())
    told = verdict_of_run([*good, *bad])
    assert told["verdict"] == "hold"
    assert told["recommended"] == {"kept": None, "raw": "Q4_0"}
    assert "kept: no quantized type passes" in told["reasons"]


def test_limits_that_cannot_be_are_refused():
    for limits in ({"max_kl_nats": 0}, {"min_top1_agreement": 1.1}, {"max_lost": 1}):
        with pytest.raises(ValidationError):
            GateConfig(**limits)
