"""The rules of promotion on a real evaluation's figures, each rule broken by its own figure."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.promotion import PromoteConfig, describe_promotion, judge_promotion

# Figures of recipes/demo.yaml, with the difference's sign turned: there, the arm was worse.
MODEL = {
    "arm": "kept+synthetic", "type": "Q4_0", "lost_bits_per_byte": 0.00043, "verdict": "promote",
    "decode_tokens_per_s": 1997.0, "first_token_s": 0.0056, "peak_mem_mib": 9.695, "tasks": None,
}  # fmt: skip
RESULTS: dict[str, Any] = {
    "models": [MODEL, MODEL | {"arm": "raw", "lost_bits_per_byte": 0.00221}],
    "comparisons": [
        {"arm": "kept+synthetic", "than": "raw", "type": "Q4_0", "subset": "all",
         "difference_bits_per_byte": -0.2939, "low": -0.4244, "high": -0.1395, "documents": 26},
        {"arm": "kept+synthetic", "than": "raw", "type": "Q4_0", "subset": "kept",
         "difference_bits_per_byte": -0.0003, "low": -0.02337, "high": 0.01105, "documents": 2},
    ],
    "gate": {"verdict": "promote", "recommended": {"kept+synthetic": "Q4_0", "raw": "Q4_0"},
             "reasons": []},
}  # fmt: skip


def judged(results=RESULTS, **rules):
    return judge_promotion(results, PromoteConfig(**rules))


def broken(promotion):
    return [(ruling.rule, ruling.figure) for ruling in promotion.rulings if not ruling.holds]


def changed(**fields):
    """The results with other figures of the judged model."""
    results = copy.deepcopy(RESULTS)
    results["models"][0] = MODEL | fields
    return results


def test_a_model_for_which_every_rule_holds_is_promoted():
    found = judged()
    assert (found.verdict, found.arm, found.type, broken(found)) == (
        "promote", "kept+synthetic", "Q4_0", []
    )  # fmt: skip
    gain = next(r for r in found.rulings if "better than raw" in r.rule)
    assert gain.figure == "0.2939 (0.1395 to 0.4244, 26 documents)"


def test_an_improvement_counts_only_with_its_whole_interval():
    found = judged(subset="kept")
    assert found.verdict == "hold"
    assert broken(found) == [
        ("bits per byte better than raw on kept text", "0.0003 (-0.0111 to 0.0234, 2 documents)")
    ]


def test_a_worse_arm_is_held():
    results = copy.deepcopy(RESULTS)
    results["comparisons"][0] |= {"difference_bits_per_byte": 0.29, "low": 0.14, "high": 0.42}
    assert judged(results).verdict == "hold"


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        ({"min_improvement_bits_per_byte": 0.3}, "bits per byte better than raw on all text"),
        ({"max_lost_bits_per_byte": 0.0004}, "bits per byte lost to F16"),
        ({"min_decode_tokens_per_s": 2000}, "tokens/s of decoding"),
        ({"max_first_token_s": 0.005}, "seconds until the first token"),
        ({"max_memory_mib": 9}, "peak memory in MiB"),
    ],
)
def test_each_limit_holds_back_by_itself(rules, rule):
    assert [name for name, _ in broken(judged(**rules))] == [rule]


@pytest.mark.parametrize("lost", [None, float("nan")])
def test_what_was_not_measured_does_not_hold(lost):
    found = judged(changed(lost_bits_per_byte=lost))
    assert [name for name, _ in broken(found)] == ["bits per byte lost to F16"]


def test_the_evaluations_own_gate_is_asked_unless_told_not_to():
    results = copy.deepcopy(RESULTS)
    results["gate"] |= {"verdict": "hold", "reasons": ["raw: no quantized type passes"]}
    found = judged(results)
    assert broken(found) == [
        ("the evaluation's own gate", "hold (raw: no quantized type passes)")
    ]  # fmt: skip
    assert judged(results, evaluation_promotes=False).verdict == "promote"


def test_scores_are_by_task_or_by_metric_and_the_lowest_counts():
    rows = [{"task": "quiz", "metric": "acc", "value": 0.5},
            {"task": "quiz", "metric": "acc_norm", "value": 0.3}]  # fmt: skip
    results = changed(tasks=rows)
    assert judged(results, min_scores={"quiz/acc": 0.5}).verdict == "promote"
    assert broken(judged(results, min_scores={"quiz": 0.4})) == [("score of quiz", "0.3")]
    assert broken(judged(results, min_scores={"other": 0.1})) == [
        ("score of other", "not measured")
    ]  # fmt: skip


def test_no_type_to_judge_is_held_whatever_else_is_asked():
    results = copy.deepcopy(RESULTS)
    results["gate"]["recommended"] = {}
    rules = {"min_improvement_bits_per_byte": None, "max_lost_bits_per_byte": None}
    found = judged(results, **rules)
    assert broken(found) == [
        ("a quantized model to judge", "kept+synthetic: none is recommended")
    ]  # fmt: skip
    assert broken(judged(type="Q2_K"))[0] == (
        "a quantized model to judge", "kept+synthetic Q2_K: not measured"
    )  # fmt: skip


def test_an_evaluation_of_one_arm_is_judged_whatever_its_name():
    gate = {"verdict": "promote", "recommended": {"model-1": "Q4_0"}, "reasons": []}
    models = [MODEL | {"arm": "model-1"}]
    results = {"models": models, "comparisons": [], "gate": gate}
    assert judged(results, min_improvement_bits_per_byte=None).verdict == "promote"
    assert judged(results).verdict == "hold"  # nobody has compared it


def test_the_page_says_every_rule_with_its_figure():
    page = describe_promotion(judged(max_memory_mib=9))
    assert page.startswith("# hold: kept+synthetic Q4_0\n")
    assert "| peak memory in MiB | 9.695 | at most 9 | **no** |" in page


def test_rules_are_checked_when_they_are_read():
    with pytest.raises(ValidationError, match="max_memory_gib"):
        PromoteConfig.model_validate({"max_memory_gib": 1})
