"""Devices as data, and what a model would do on them.

A decoded token reads all weights once and the cache of the tokens before it, so memory bounds its
speed: bandwidth over bytes a token. Arithmetic bounds it too: the time of the products measured
here, scaled by cores, clock and vector width of both machines. The prediction is the lower bound of
the two. It leaves out everything else that a token costs, and throttling; `check_here` predicts
this very machine and says how far off that is. Only processors are modelled, no GPU or NPU, for
they are what llama.cpp uses on all of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True)
class Profile:
    """One device; every figure has its source in `sources`."""

    name: str
    device: str
    memory_gib: float
    usable_share: float  # of the memory, for one program beside the system
    bandwidth_gb_per_s: float  # of the data sheet
    sustained_share: float  # of it that processors reach
    cores: int  # that share the work; small efficiency cores are left out
    clock_ghz: float
    simd_bits: int  # of all vector units of a core in one cycle
    sources: tuple[str, ...]


# What a Raspberry Pi 5 sustains, 11.4 of 17 GB/s; nothing better is known for the others.
_SUSTAINED = 0.67
_ASSUMED = (
    "sustained share: measured on a Raspberry Pi 5, "
    "http://hellomatik.com/research/hitting-the-memory-wall-30b-moe-raspberry-pi",
    "usable share of the memory: assumed",
)
_A76_VECTORS = "vectors: 2 x 128 bits of a Cortex-A76, http://techarx.com/cortex-a76-in-depth/"

PROFILES = (
    Profile(
        "phone", "Snapdragon 8 Gen 3, 8 GB", 8, 0.4, 76.8, _SUSTAINED, 6, 3.0, 256,
        ("cores (1 at 3.3 GHz, 5 at 3.0 to 3.2) and LPDDR5X at 4,800 MHz: "
         "https://droidholic.com/snapdragon-8-gen-3-launched/",
         "bandwidth: 9.6 GT/s x 64 bits",
         f"{_A76_VECTORS}; assumed for these cores", *_ASSUMED),
    ),
    Profile(
        "raspberry-pi-5", "Raspberry Pi 5, 8 GB", 8, 0.8, 17.1, _SUSTAINED, 4, 2.4, 256,
        ("cores and LPDDR4X-4267: "
         "https://docs.zephyrproject.org/4.0.0/boards/raspberrypi/rpi_5/doc/index.html",
         "bandwidth: 4.267 GT/s x 32 bits", _A76_VECTORS, *_ASSUMED),
    ),
    Profile(
        "laptop", "Ryzen 7 7840U, 16 GB", 16, 0.6, 89.6, _SUSTAINED, 8, 3.3, 512,
        ("cores and DDR5-5600: https://cputronic.com/cpu/amd-ryzen-7-7840u",
         "bandwidth: 5.6 GT/s x 128 bits",
         "vectors: 2 x 256 bits, https://www.agner.org/optimize/microarchitecture.pdf", *_ASSUMED),
    ),
    Profile(
        "jetson-orin-nano", "Jetson Orin Nano, 8 GB", 8, 0.7, 68.0, _SUSTAINED, 6, 1.5, 256,
        ("cores, 128-bit LPDDR5 and 68 GB/s (1.7 GHz and 102 GB/s in the later mode): "
         "https://www.brojogopalsapui.com/ai-foundations/sub_contents/AI_hardware/"
         "jetson_orin_nano_light.html",
         f"{_A76_VECTORS}; assumed for its Cortex-A78AE", *_ASSUMED),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What the user of a device grants; null is no limit."""

    context_tokens: int
    min_decode_tokens_per_s: float | None
    max_first_token_s: float | None
    max_memory_mib: float | None


def profile_of(machine: dict[str, Any]) -> Profile:
    """The machine at hand as a profile: bandwidth is the one measured."""
    return Profile(
        "here", str(machine["processor"]), machine["memory_gib"], 1.0,
        machine["bandwidth_gb_per_s"], 1.0, machine["threads"], machine["clock_ghz"] or 1.0,
        machine["simd_bits"], ("measured here",),
    )  # fmt: skip


def predict(
    model: dict[str, Any], device: Profile, here: Profile, budget: Budget, depth_tokens: int
) -> dict[str, Any]:
    """Speed, first token and memory of a measured model on a device.

    `model` has `shape` (bytes read a token, cache bytes a token), and where they were measured
    `matrix`, `first_token_s` and `memory`.
    """
    shape = model["shape"]
    read = shape["read_bytes_per_token"] + shape["kv_bytes_per_token"] * depth_tokens
    by_memory = device.bandwidth_gb_per_s * 1e9 * device.sustained_share / read
    slower = _arithmetic(here) / _arithmetic(device)
    matrix = model.get("matrix")
    by_arithmetic = 1e3 / (matrix["product_ms_per_token"] * slower) if matrix else None
    first_s = model.get("first_token_s")
    rest = max((point["rest_mib"] or 0.0 for point in model.get("memory") or ()), default=0.0)
    cache = shape["kv_bytes_per_token"] * budget.context_tokens / _MIB
    needed = shape["weight_bytes"] / _MIB + cache + rest
    usable = device.memory_gib * device.usable_share * _GIB / _MIB
    return {
        "profile": device.name,
        "arm": model["arm"],
        "type": model["type"],
        "decode_tokens_per_s": _round(min(by_memory, by_arithmetic or by_memory)),
        "bound": "memory" if by_arithmetic is None or by_memory < by_arithmetic else "arithmetic",
        "memory_bound_tokens_per_s": _round(by_memory),
        "arithmetic_bound_tokens_per_s": None if by_arithmetic is None else _round(by_arithmetic),
        "first_token_s": None if first_s is None else _round(first_s * slower),
        "memory_mib": round(needed, 1),
        "fits": needed <= usable,
    }


def _arithmetic(device: Profile) -> float:
    """Vector bits a nanosecond: a rough scale, nothing of caches or of instructions."""
    return device.cores * device.clock_ghz * device.simd_bits


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def recommend(
    predictions: Sequence[dict[str, Any]], models: Sequence[dict[str, Any]], budget: Budget
) -> dict[str, Any]:
    """The best model of those that fit the device and the budget and are not on hold.

    Best is the fewest bits per byte, then the smallest; `why` says what ruled the others out.
    """
    of = {(m["arm"], m["type"]): m for m in models}
    refused: dict[str, str] = {}
    left = []
    for told in predictions:
        reason = _refusal(told, of[told["arm"], told["type"]], budget)
        if reason is None:
            left.append(told)
        else:
            refused[f"{told['arm']} {told['type']}"] = reason
    best = min(left, key=lambda told: _quality(of[told["arm"], told["type"]]), default=None)
    return {
        "profile": predictions[0]["profile"],
        "arm": None if best is None else best["arm"],
        "type": None if best is None else best["type"],
        "refused": refused,
        "budget": asdict(budget),
    }


def _quality(model: dict[str, Any]) -> tuple[float, float]:
    bits = model.get("bits_per_byte")
    return (float("inf") if bits is None else bits, model["file_mib"])


def _refusal(told: dict[str, Any], model: dict[str, Any], budget: Budget) -> str | None:
    rules = (
        (model.get("verdict") == "hold", "on hold"),
        (not told["fits"], "does not fit the device"),
        (_over(told["memory_mib"], budget.max_memory_mib), "takes too much memory"),
        (_over(budget.min_decode_tokens_per_s, told["decode_tokens_per_s"]), "decodes too slowly"),
        (_over(told["first_token_s"], budget.max_first_token_s), "its first token comes too late"),
    )
    return next((reason for broken, reason in rules if broken), None)


def _over(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def check_here(
    models: Sequence[dict[str, Any]], here: Profile, budget: Budget
) -> list[dict[str, Any]]:
    """This machine predicted from its bandwidth and its products, beside what was measured."""
    found = []
    for model in models:
        point = model["decode"][0]
        depth = point["depth_tokens"]
        predicted = predict(model, here, here, budget, depth)["decode_tokens_per_s"]
        found.append(
            {
                "arm": model["arm"],
                "type": model["type"],
                "predicted_tokens_per_s": predicted,
                "measured_tokens_per_s": point["tokens_per_s"],
                "off_share": round(predicted / point["tokens_per_s"] - 1, 3),
            }
        )
    return found
