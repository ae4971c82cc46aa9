"""What the models of a run are worth, by quantization: quality, speed and memory.

Each figure is a bar in a table, so it can be read, heard and drawn; the plots that the stage sealed
stand below. Runs of older versions of Primer know less, and then less is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.render import page
from catalog.runs_index import open_run
from catalog.sealed_files import DOWNLOADED, address_of, pictures_of

TOLD = {
    "quality": "Quality by quantization",
    "speed": "Speed of decoding by quantization",
    "prefill": "Speed of reading the prompt",
    "memory": "Memory by quantization",
    "pareto": "Quality against memory: what lies on the line is worth choosing",
}


@dataclass(frozen=True)
class Measure:
    """One figure of a model; `better` says which way is good, for people."""

    key: str
    title: str
    unit: str
    better: str
    decimals: int


MEASURES = (
    Measure("bits_per_byte", "Quality", "bits per byte of held-out text", "less is better", 3),
    Measure("lost_bits_per_byte", "Lost by quantizing", "bits per byte", "less is better", 3),
    Measure("decode_tokens_per_s", "Speed of decoding", "tokens a second", "more is better", 0),
    Measure("prefill_tokens_per_s", "Speed of reading", "tokens a second", "more is better", 0),
    Measure("peak_mem_mib", "Memory at most", "MiB", "less is better", 1),
    Measure("file_mib", "File", "MiB", "less is better", 2),
)


def show_models(request: Request) -> Response:
    """The evaluation of the run's quantized models."""
    run = open_run(request)
    facts = run.stages["evaluate"].facts if "evaluate" in run.stages else {}
    models: Sequence[Mapping[str, Any]] = facts.get("models", [])
    trained = run.stages["train"].facts.get("arms", {}) if "train" in run.stages else {}
    return page(
        request,
        "models.html",
        run=run,
        models=models,
        trained=trained,
        charts=[chart for measure in MEASURES if (chart := draw(measure, models))],
        gate=facts.get("gate"),
        baselines=facts.get("baselines", {}),
        comparisons=[c for c in facts.get("comparisons", []) if c.get("subset") == "all"],
        claims=facts.get("claims", []),
        pictures=_files(run, pictures=True),
        files=_files(run, pictures=False),
    )


def draw(measure: Measure, models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Rows by type and a bar for each arm; None where no model has the figure."""
    known = {
        (str(m["type"]), str(m["arm"])): float(m[measure.key])
        for m in models
        if isinstance(m.get(measure.key), int | float)
    }
    if not known:
        return None
    most = max(0.0, *known.values()) or 1.0
    types = list(dict.fromkeys(kind for kind, _ in known))
    arms = list(dict.fromkeys(arm for _, arm in known))
    rows = [
        (kind, [_bar(known.get((kind, arm)), most, measure.decimals) for arm in arms])
        for kind in types
    ]
    return {"measure": measure, "arms": arms, "rows": rows}


def _bar(value: float | None, most: float, decimals: int) -> dict[str, Any]:
    if value is None:
        return {"share": 0.0, "told": "unknown"}
    told = f"{round(value, decimals) + 0.0:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return {"share": max(0.0, value) / most, "told": told}


def _files(run: Any, pictures: bool) -> list[tuple[str, str]]:
    """(address, what it is) of what evaluation and training sealed for people."""
    found = []
    for stage in ("evaluate", "train"):
        if stage not in run.stages:
            continue
        shown = set(pictures_of(run.stages[stage]))
        for name in sorted(run.stages[stage].manifest.files):
            if (name in shown) if pictures else name.endswith((".md", ".html", "results.json")):
                assert pictures or name.endswith(tuple(DOWNLOADED))
                found.append((address_of(run, stage, name), _told(stage, name)))
    return found


def _told(stage: str, name: str) -> str:
    stem = name.removesuffix(".png")
    arm, _, last = stem.rpartition("/")
    if last == "loss" and arm:
        return f"Loss while the arm {arm} was trained"
    return TOLD.get(stem, f"{stage}: {name}")


ROUTES = [Route("/runs/{run}/models", show_models)]
