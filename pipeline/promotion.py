"""Promote or hold: what the recipe asks of a trained model, answered by its evaluation alone.

Every rule is answered with its figure, so that a verdict can be read and disputed. A rule that is
null is not asked; a rule whose figure was not measured does not hold, for nobody has shown that it
does. One rule that does not hold puts the model on hold. Nothing here reads a file or the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from pipeline.config import Section

PROMOTE, HOLD = "promote", "hold"
FULL = "F16"

Subset = Literal["all", "kept", "not kept", "code", "web"]


class PromoteConfig(Section):
    """What must hold before a model replaces the one in use. Null: not asked."""

    arm: str = Field(
        "kept+synthetic",
        description="The arm whose model is judged; where an evaluation has one arm, that one.",
    )  # fmt: skip
    than: str = Field("raw", description="The arm that it must be better than.")
    subset: Subset = Field("all", description="The held-out text on which arms are compared.")
    type: str | None = Field(
        None,
        description="The quantized type that is judged; null takes what the evaluation recommends.",
    )  # fmt: skip
    min_improvement_bits_per_byte: float | None = Field(
        0.0, ge=0, le=8,
        description="Bits per byte by which the arm is better, at least; its whole 95 % interval "
        "must be above zero too.",
    )  # fmt: skip
    max_lost_bits_per_byte: float | None = Field(
        0.05, gt=0, le=8,
        description=f"Bits per byte that the quantized type loses against {FULL}, at most.",
    )  # fmt: skip
    evaluation_promotes: bool = Field(
        True,
        description="Whether the evaluation's own gate must say promote; false: not asked.",
    )  # fmt: skip
    min_scores: dict[str, float] = Field(
        {},
        description="Least score of the judged type by `task` or `task/metric`.",
    )  # fmt: skip
    min_decode_tokens_per_s: float | None = Field(
        None, gt=0, description="Speed of decoding where it was evaluated."
    )
    max_first_token_s: float | None = Field(
        None, gt=0, description="Seconds until the first token, at most."
    )
    max_memory_mib: float | None = Field(None, gt=0, description="Peak memory in MiB, at most.")


@dataclass(frozen=True)
class Ruling:
    """One rule, the figure that answers it (or why there is none), its limit, and the answer."""

    rule: str
    figure: str
    limit: str
    holds: bool


@dataclass(frozen=True)
class Promotion:
    """The verdict (`promote` or `hold`), what it is about, and every rule that was asked."""

    verdict: str
    arm: str
    type: str | None
    rulings: tuple[Ruling, ...]


def judge_promotion(results: Mapping[str, Any], config: PromoteConfig) -> Promotion:
    """Judge an evaluation's results.json (docs/results.schema.json) by the recipe's rules."""
    arms = sorted({model["arm"] for model in results["models"]})
    arm = arms[0] if len(arms) == 1 else config.arm
    kind = config.type or results["gate"]["recommended"].get(arm)
    model = next((m for m in results["models"] if (m["arm"], m["type"]) == (arm, kind)), None)
    rulings = (
        _judged(arm, kind, model),
        *_gate(results["gate"], config),
        *_comparison(results["comparisons"], arm, kind, config),
        *_limits(model or {}, config),
        *_scores((model or {}).get("tasks") or (), config.min_scores),
    )
    held = any(not ruling.holds for ruling in rulings)
    return Promotion(HOLD if held else PROMOTE, arm, kind, rulings)


def describe_promotion(promotion: Promotion) -> str:
    """The verdict as Markdown: a table of the rules."""
    lines = [
        f"# {promotion.verdict}: {promotion.arm} {promotion.type or '(no type)'}",
        "",
        "| rule | figure | limit | holds |",
        "|---|---|---|---|",
    ]
    for r in promotion.rulings:
        lines.append(f"| {r.rule} | {r.figure} | {r.limit} | {'yes' if r.holds else '**no**'} |")
    return "\n".join(lines) + "\n"


def _judged(arm: str, kind: str | None, model: Mapping[str, Any] | None) -> Ruling:
    named = f"{arm} {kind}" if kind else f"{arm}: none is recommended"
    figure = named if kind is None or model is not None else f"{named}: not measured"
    return Ruling("a quantized model to judge", figure, "one", model is not None)


def _gate(gate: Mapping[str, Any], config: PromoteConfig) -> Iterator[Ruling]:
    if config.evaluation_promotes:
        verdict = gate["verdict"]
        why = f" ({'; '.join(gate['reasons'])})" if gate["reasons"] else ""
        yield Ruling(
            "the evaluation's own gate", (verdict or "no verdict") + why, PROMOTE,
            verdict == PROMOTE,
        )  # fmt: skip


def _comparison(
    comparisons: Sequence[Mapping[str, Any]], arm: str, kind: str | None, config: PromoteConfig
) -> Iterator[Ruling]:
    """Differences are of bits per byte: below zero the arm is better, and an improvement."""
    least = config.min_improvement_bits_per_byte
    if least is None:
        return
    wanted = (arm, config.than, config.subset, kind)
    found = next(
        (c for c in comparisons if (c["arm"], c["than"], c["subset"], c["type"]) == wanted), None
    )
    rule = f"bits per byte better than {config.than} on {config.subset} text"
    limit = f"at least {least:g}, interval above 0"
    if found is None or found["low"] is None or found["high"] is None:
        yield Ruling(rule, "not measured", limit, False)
        return
    gain, low, high = (-found[name] for name in ("difference_bits_per_byte", "high", "low"))
    figure = f"{gain:.4f} ({low:.4f} to {high:.4f}, {found['documents']} documents)"
    yield Ruling(rule, figure, limit, gain >= least and low > 0)


def _limits(model: Mapping[str, Any], config: PromoteConfig) -> Iterator[Ruling]:
    rules = (
        (f"bits per byte lost to {FULL}", "lost_bits_per_byte", config.max_lost_bits_per_byte, 1),
        ("tokens/s of decoding", "decode_tokens_per_s", config.min_decode_tokens_per_s, -1),
        ("seconds until the first token", "first_token_s", config.max_first_token_s, 1),
        ("peak memory in MiB", "peak_mem_mib", config.max_memory_mib, 1),
    )
    for rule, field, limit, sign in rules:
        if limit is not None:
            yield _against(rule, model.get(field), limit, sign)


def _scores(rows: Sequence[Mapping[str, Any]], least: Mapping[str, float]) -> Iterator[Ruling]:
    for name, limit in least.items():
        task, _, metric = name.partition("/")
        values = [
            row["value"] for row in rows if row["task"] == task and metric in {"", row["metric"]}
        ]
        # of several metrics each must reach it
        lowest = None if not values or None in values else min(values)
        yield _against(f"score of {name}", lowest, limit, -1)


def _against(rule: str, value: float | None, limit: float, sign: int) -> Ruling:
    """A figure against its limit: `sign` 1 where it may be that much at most, -1 at least."""
    told = f"{'at most' if sign == 1 else 'at least'} {limit:g}"
    if value is None:
        return Ruling(rule, "not measured", told, False)
    return Ruling(rule, f"{value:.4g}", told, sign * value <= sign * limit)
