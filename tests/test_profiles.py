"""Devices: the two bounds, what fits, and what is recommended; the front of a trade."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downstream.pareto import front, plot_pareto
from downstream.profiles import (
    PROFILES,
    Budget,
    Profile,
    check_here,
    predict,
    profile_of,
    recommend,
)

DEVICE = Profile("d", "a device", 1.0, 0.5, 10.0, 0.5, 4, 2.0, 256, ("made up",))
HERE = replace(DEVICE, name="here", sustained_share=1.0)
ANY = Budget(1_000, None, None, None)
MATRIX = {"product_ms_per_token": 1.0}


def model(kind="Q4_0", weight_bytes=10**8, bits=1.0, **fields):
    shape = {"weight_bytes": weight_bytes, "read_bytes_per_token": weight_bytes,
             "kv_bytes_per_token": 10_000}  # fmt: skip
    found = {
        "arm": "raw", "type": kind, "shape": shape, "matrix": MATRIX, "first_token_s": 0.1,
        "memory": [{"rest_mib": 5.0}], "bits_per_byte": bits, "file_mib": weight_bytes / 2**20,
        "verdict": "promote", "decode": [{"depth_tokens": 0, "tokens_per_s": 50.0}],
    }  # fmt: skip
    return {**found, **fields}


def test_memory_bounds_by_bytes_a_token():
    """5 GB/s reach the processors: 100 MB of weights are read 50 times a second."""
    found = predict(model(), DEVICE, HERE, ANY, 0)
    assert found["decode_tokens_per_s"] == 50
    assert found["bound"] == "memory"
    deep = predict(model(), DEVICE, HERE, ANY, 10_000)  # the cache is as large as the weights
    assert deep["decode_tokens_per_s"] == 25


def test_arithmetic_bounds_by_the_products_measured_here():
    slow = model(matrix={"product_ms_per_token": 40.0})
    assert predict(slow, DEVICE, HERE, ANY, 0)["decode_tokens_per_s"] == 25
    half = replace(DEVICE, cores=2)
    found = predict(slow, half, HERE, ANY, 0)
    assert found["decode_tokens_per_s"] == 12.5
    assert found["bound"] == "arithmetic"
    assert found["first_token_s"] == pytest.approx(0.2)
    unknown = predict(model(matrix=None), half, HERE, ANY, 0)
    assert unknown["arithmetic_bound_tokens_per_s"] is None
    assert unknown["decode_tokens_per_s"] == 50


def test_memory_needed_is_weights_cache_and_rest():
    found = predict(model(), DEVICE, HERE, ANY, 0)
    assert found["memory_mib"] == pytest.approx((10**8 + 1_000 * 10_000) / 2**20 + 5, abs=0.1)
    assert found["fits"]
    assert not predict(model(weight_bytes=6 * 10**8), DEVICE, HERE, ANY, 0)["fits"]
    long = replace(ANY, context_tokens=50_000)
    assert not predict(model(), DEVICE, HERE, long, 0)["fits"]


def recommended(models, budget=ANY, device=DEVICE):
    return recommend([predict(m, device, HERE, budget, 0) for m in models], models, budget)


def test_the_best_quality_within_the_budget_is_recommended():
    models = [
        model("F16", 4 * 10**8, 1.0), model("Q8_0", 2 * 10**8, 1.001), model("Q4_0", 10**8, 1.02),
        model("Q2_K", 5 * 10**7, 1.5, verdict="hold"),
    ]  # fmt: skip
    assert recommended(models)["type"] == "F16"
    assert recommended(models, replace(ANY, min_decode_tokens_per_s=20))["type"] == "Q8_0"
    fast = recommended(models, replace(ANY, min_decode_tokens_per_s=40))
    assert fast["type"] == "Q4_0"
    assert fast["refused"] == {
        "raw F16": "decodes too slowly", "raw Q8_0": "decodes too slowly", "raw Q2_K": "on hold",
    }  # fmt: skip
    assert recommended(models, replace(ANY, max_memory_mib=150))["type"] == "Q4_0"
    assert recommended(models, replace(ANY, max_first_token_s=0.05))["type"] is None
    small = replace(DEVICE, memory_gib=0.3)
    none = recommended(models, replace(ANY, min_decode_tokens_per_s=1_000), small)
    assert none["type"] is None
    assert none["refused"]["raw F16"] == "does not fit the device"


def test_a_budget_that_is_null_is_no_limit_and_unknown_quality_comes_last():
    models = [model("Q4_0", bits=None), model("Q8_0", 2 * 10**8, bits=3.0)]
    assert recommended(models)["type"] == "Q8_0"


def test_this_machine_is_predicted_and_compared():
    machine = {"processor": "p", "memory_gib": 8, "bandwidth_gb_per_s": 10.0, "threads": 2,
               "clock_ghz": None, "simd_bits": 512}  # fmt: skip
    here = profile_of(machine)
    (found,) = check_here([model()], here, ANY)
    assert found["predicted_tokens_per_s"] == 100  # 10 GB/s over 100 MB, all of it reached
    assert found["off_share"] == pytest.approx(1.0)  # twice the 50 that were measured


def test_every_device_has_sources_and_figures_that_can_be():
    assert {device.name for device in PROFILES} == {
        "phone", "raspberry-pi-5", "laptop", "jetson-orin-nano"
    }  # fmt: skip
    for device in PROFILES:
        assert len([s for s in device.sources if "http" in s]) >= 2
        assert any("bandwidth" in s or "GB/s" in s for s in device.sources)
        assert 0 < device.usable_share < 1
        assert 0 < device.sustained_share <= 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(points):
    chosen = [points[i] for i in front(points)]
    for point in points:
        dominated = any(a <= point[0] and b <= point[1] and (a, b) != point for a, b in points)
        assert (point in chosen) is not dominated


def test_the_trade_is_drawn_where_quality_is_known(tmp_path):
    shown = [{"arm": "a", "type": t, "bits_per_byte": b, "decode_tokens_per_s": s, "file_mib": m}
             for t, b, s, m in (("F16", 1.0, 10, 4), ("Q4_0", 1.1, 30, 1))]  # fmt: skip
    assert plot_pareto(tmp_path / "p.png", shown)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert not plot_pareto(tmp_path / "q.png", [{**shown[0], "bits_per_byte": None}])
