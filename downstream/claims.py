"""The claims of the survey of small models (arXiv 2409.15790), on the models measured here.

Each claim is a function of measured figures that says *confirmed*, *not confirmed* or *not
measured*, with the figures. Speeds of a shared machine scatter: one is called faster than another
only where its lowest repetition beats the other's highest; anything else is a tie. What holds
depends on type, build, processor and size of the model, which the report names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from downstream.gate import FULL

CONFIRMED, NOT_CONFIRMED, NOT_MEASURED = "confirmed", "not confirmed", "not measured"
FOUR_BITS = ("Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS")
THREE_BITS = ("Q3_K_M", "Q3_K_S", "Q3_K_L")
IRREGULAR = ("Q5_0", "Q5_K_M", "Q5_K_S", "Q6_K")
DECODE_CUT = (0.17, 0.75)
PREFILL_CUT = 0.25
SHORT_PROMPT_TOKENS = 64
PRODUCT_SHARE = 0.70
KV_SHARE, KV_CONTEXT_TOKENS = 0.80, 32_000
_WORDS = {True: "faster", False: "slower", None: "a tie"}

Models = Sequence[dict[str, Any]]


def judge_claims(models: Models) -> list[dict[str, str]]:
    """All claims for the models of one shape, by type."""
    by_type = {str(model["type"]): model for model in models}
    return [
        _claim("4-bit decodes faster than 3-bit", *four_against_three(by_type)),
        _claim("Quantizing cuts decode latency by 17 to 75 %", *decode_cut(by_type)),
        _claim("Quantizing cuts prefill latency by at least 25 % for short prompts",
               *prefill_cut(by_type)),
        _claim("Irregular 5 and 6 bits decode no faster than 8", *irregular(by_type)),
        _claim("Matrix-vector products take over 70 % of decoding", *products(by_type)),
        _claim("The KV cache takes over 80 % of memory at a context of 32,000", *cache(by_type)),
    ]  # fmt: skip


def _claim(claim: str, verdict: str, figures: str) -> dict[str, str]:
    return {"claim": claim, "verdict": verdict, "figures": figures}


def faster(one: dict[str, Any], other: dict[str, Any]) -> bool | None:
    """Whether the first decodes faster; null for a tie, where the repetitions overlap."""
    ours, theirs = one["decode"][0], other["decode"][0]
    if ours["lowest"] > theirs["highest"]:
        return True
    return False if ours["highest"] < theirs["lowest"] else None


def four_against_three(by_type: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Confirmed where every pair says so; one pair that ties or contradicts is named."""
    pairs = [
        (four, three)
        for four in FOUR_BITS
        for three in THREE_BITS
        if _has_speed(by_type, four) and _has_speed(by_type, three)
    ]
    if not pairs:
        return NOT_MEASURED, "needs a 4-bit and a 3-bit type"
    found = [faster(by_type[four], by_type[three]) for four, three in pairs]
    told = "; ".join(
        f"{four} {_speed(by_type[four]):.4g} against {three} {_speed(by_type[three]):.4g} "
        f"tokens/s ({_WORDS[result]})"
        for (four, three), result in zip(pairs, found, strict=True)
    )
    return _all(found), told


def decode_cut(by_type: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Every quantized type's latency a token against F16's."""
    quantized = [k for k in by_type if k != FULL and _has_speed(by_type, k)]
    if not quantized or not _has_speed(by_type, FULL):
        return NOT_MEASURED, f"needs {FULL} and a quantized type"
    cuts = {k: 1 - _speed(by_type[FULL]) / _speed(by_type[k]) for k in quantized}
    low, high = DECODE_CUT
    return _all([low <= cut <= high for cut in cuts.values()]), _percents(cuts)


def prefill_cut(by_type: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Every quantized type's latency of the longest short prompt against F16's."""
    seconds = {kind: _short_prompt(model) for kind, model in by_type.items()}
    full = seconds.pop(FULL, None)
    quantized = {k: value for k, value in seconds.items() if value is not None}
    if full is None or not quantized:
        return NOT_MEASURED, f"needs {FULL}, a quantized type, a prompt of {SHORT_PROMPT_TOKENS}"
    cuts = {kind: 1 - value[1] / full[1] for kind, value in quantized.items()}
    told = f"prompt of {full[0]} tokens: {_percents(cuts)}"
    return _all([cut >= PREFILL_CUT for cut in cuts.values()]), told


def irregular(by_type: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Confirmed where no median is above that of Q8_0."""
    kinds = [k for k in IRREGULAR if _has_speed(by_type, k)]
    if not kinds or not _has_speed(by_type, "Q8_0"):
        return NOT_MEASURED, "needs Q8_0 and a type of 5 or 6 bits"
    eight = by_type["Q8_0"]
    told = "; ".join(
        f"{kind} {_speed(by_type[kind]):.4g} ({_WORDS[faster(by_type[kind], eight)]})"
        for kind in kinds
    )
    verdicts = [_speed(by_type[kind]) <= _speed(eight) for kind in kinds]
    return _all(verdicts), f"tokens/s: {told}; Q8_0 {_speed(eight):.4g}"


def products(by_type: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Products of weights; attention's with the cache stand beside them."""
    shares = {k: m["matrix"] for k, m in by_type.items() if m.get("matrix")}
    if not shares:
        return NOT_MEASURED, "the share was not measured"
    told = "; ".join(
        f"{kind} {share['product_share']:.0%} (attention {share['attention_share']:.0%})"
        for kind, share in shares.items()
    )
    return _all([share["product_share"] > PRODUCT_SHARE for share in shares.values()]), told


def cache(by_type: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Measured where a context of 32,000 was; the computed share alone confirms nothing."""
    shares = {
        kind: point
        for kind, model in by_type.items()
        for point in model.get("memory") or ()
        if point["context_tokens"] == KV_CONTEXT_TOKENS and point["kv_share"] is not None
    }
    if not shares:
        return NOT_MEASURED, f"memory at a context of {KV_CONTEXT_TOKENS:,} was not measured"
    told = "; ".join(
        f"{kind} {point['kv_share']:.0%} (computed, without the rest, "
        f"{point['kv_share_computed']:.0%})"
        for kind, point in shares.items()
    )
    return _all([point["kv_share"] > KV_SHARE for point in shares.values()]), told


def _all(found: Sequence[bool | None]) -> str:
    return CONFIRMED if all(found) else NOT_CONFIRMED


def _has_speed(by_type: dict[str, dict[str, Any]], kind: str) -> bool:
    return bool(by_type.get(kind, {}).get("decode"))


def _speed(model: dict[str, Any]) -> float:
    return float(model["decode"][0]["tokens_per_s"])


def _short_prompt(model: dict[str, Any]) -> tuple[int, float] | None:
    short = [p for p in model.get("prefill") or () if p["tokens"] <= SHORT_PROMPT_TOKENS]
    return (short[-1]["tokens"], short[-1]["seconds"]) if short else None


def _percents(cuts: dict[str, float]) -> str:
    return "; ".join(f"{kind} {cut:.0%}" for kind, cut in cuts.items())
