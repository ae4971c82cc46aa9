"""The gate: what a quantized model may lose against F16 of its own arm, else *hold*.

A limit that is null is not asked about; a limit on what was not measured holds nothing back, and
the reasons say so. A run is promoted when every arm has a quantized type that passes; the smallest
such file is recommended, for what is smaller is read faster (`downstream.profiles` weighs speed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pipeline.config import Section

PROMOTE, HOLD = "promote", "hold"
FULL = "F16"


class GateConfig(Section):
    """What a quantized model may lose against F16."""

    max_lost_bits_per_byte: float | None = Field(
        0.05, gt=0, description="Bits per byte of held-out text lost at most; null: not asked."
    )
    max_kl_nats: float | None = Field(
        None, gt=0, description="Mean KL divergence from F16 at most (nats a token)."
    )
    min_top1_agreement: float | None = Field(
        None, gt=0, le=1, description="Share of tokens on which both put the same token first."
    )
    max_lost_accuracy: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Accuracy lost at most on any task; noise is allowed for.",
    )


def judge(models: Sequence[dict[str, Any]], config: GateConfig) -> None:
    """Give every model `lost_bits_per_byte`, `verdict` and `reasons`, against F16 of its arm.

    Models without an F16 beside them have nothing to lose against: their verdict is null.
    """
    full = {model["arm"]: model for model in models if model["type"] == FULL}
    for model in models:
        reference = full.get(model["arm"])
        if reference is None:
            model.update(
                lost_bits_per_byte=None, verdict=None, reasons=[f"no {FULL} to compare with"]
            )
            continue
        lost = _lost(reference.get("bits_per_byte"), model.get("bits_per_byte"))
        reasons = [] if model is reference else _reasons(reference, model, lost, config)
        held = [told for breaks, told in reasons if breaks]
        model["lost_bits_per_byte"] = lost
        model["verdict"] = HOLD if held else PROMOTE
        model["reasons"] = held or [told for _, told in reasons]


def _reasons(
    reference: dict[str, Any], model: dict[str, Any], lost: float | None, config: GateConfig
) -> list[tuple[bool, str]]:
    """Every rule: whether it is broken, and what is to be said."""
    likeness = model.get("likeness") or {}
    rules = (
        ("bits per byte lost", lost, config.max_lost_bits_per_byte, 1),
        ("KL in nats", likeness.get("kl_mean_nats"), config.max_kl_nats, 1),
        ("top-1 agreement", likeness.get("top1_agreement"), config.min_top1_agreement, -1),
    )
    told = []
    for name, value, limit, sign in rules:
        if limit is None:
            continue
        if value is None:
            told.append((False, f"{name}: not measured"))
        elif not sign * value <= sign * limit:  # so that what is no number is held back
            told.append((True, f"{name}: {value:.4g}, limit {limit:g}"))
    if config.max_lost_accuracy is not None:
        told += _task_reasons(reference, model, config.max_lost_accuracy)
    return told


def _task_reasons(
    reference: dict[str, Any], model: dict[str, Any], limit: float
) -> list[tuple[bool, str]]:
    """A loss on a task counts where it is beyond the limit and twice its standard error."""
    before = {(row["task"], row["metric"]): row for row in reference.get("tasks") or ()}
    if not before:
        return [(False, "accuracy on tasks: not measured")]
    told = []
    for row in model.get("tasks") or ():
        full = before.get((row["task"], row["metric"]))
        if full is None or full["value"] is None or row["value"] is None:
            told.append((False, f"{row['task']} {row['metric']}: not measured"))
            continue
        lost = full["value"] - row["value"]
        errors = [r.get("stderr") or 0.0 for r in (full, row)]
        noise = 2 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
        if lost > max(limit, noise):
            told.append((True, f"{row['task']} {row['metric']} lost: {lost:.4g}, limit {limit:g}"))
    return told


def verdict_of_run(models: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The verdict on the whole, the recommended type of each arm, and why.

    Without any quantized model that was judged the verdict is null.
    """
    recommended: dict[str, str | None] = {}
    reasons = []
    judged = [m for m in models if m["type"] != FULL and m["verdict"] is not None]
    for arm in sorted({model["arm"] for model in judged}):
        quantized = [m for m in judged if m["arm"] == arm]
        passed = [m for m in quantized if m["verdict"] == PROMOTE]
        best = min(passed, key=lambda m: (m["file_mib"], m["type"]), default=None)
        recommended[arm] = None if best is None else best["type"]
        if best is None:
            reasons.append(f"{arm}: no quantized type passes")
        reasons += [
            f"{arm} {m['type']}: {'; '.join(m['reasons'])}"
            for m in quantized
            if m["verdict"] == HOLD
        ]
    held = any(kind is None for kind in recommended.values())
    return {
        "verdict": (HOLD if held else PROMOTE) if judged else None,
        "recommended": recommended,
        "reasons": reasons,
    }


def _lost(full: float | None, value: float | None) -> float | None:
    return None if full is None or value is None else round(value - full, 5)
