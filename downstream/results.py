"""From measured models to what is said of them: verdicts, claims, devices, results.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from downstream.claims import judge_claims
from downstream.evaluate_config import EvaluateConfig
from downstream.gate import judge, verdict_of_run
from downstream.profiles import PROFILES, Profile, check_here, predict, profile_of, recommend
from downstream.results_schema import RESULTS, RESULTS_VERSION, Results

Rows = list[dict[str, Any]]


def conclude(
    models: Rows, config: EvaluateConfig, of: dict[str, Any], machine: dict[str, Any],
    comparisons: Rows, baselines: dict[str, float | None],
    profiles: Sequence[Profile] = PROFILES,
) -> Results:  # fmt: skip
    """Judge the models (they get their verdicts) and gather the results, checked by the schema."""
    judge(models, config.gate)
    budget, here = config.budget.granted(), profile_of(machine)
    depth = min(config.depths)  # of the speed that is measured and told first
    predictions = {
        device.name: [predict(model, device, here, budget, depth) for model in models]
        for device in profiles
    }
    first_arm = [model for model in models if model["arm"] == models[0]["arm"]]
    return Results.model_validate(
        {
            "results_version": RESULTS_VERSION,
            "of": of,
            "machine": machine,
            "settings": config.model_dump(mode="json"),
            "models": models,
            "comparisons": comparisons,
            "baselines": baselines,
            "gate": verdict_of_run(models),
            "claims": judge_claims(first_arm),  # cost is the same for all arms of a shape
            "profiles": [asdict(device) for device in profiles],
            "predictions": [told for some in predictions.values() for told in some],
            "recommendations": [recommend(some, models, budget) for some in predictions.values()],
            "check_here": check_here(first_arm, here, budget),
        }
    )


def write_results(folder: Path, results: Results) -> None:
    """Write results.json."""
    (folder / RESULTS).write_text(results.model_dump_json(indent=1) + "\n")
