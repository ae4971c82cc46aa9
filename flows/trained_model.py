"""Evaluate what a training has made: the run's own models, or one that lies elsewhere.

The run's own (stage 11) go through stages 12 and 13, so that arms are compared on the same held-out
documents. A model from elsewhere is exported, quantized and measured by `evaluate_path` on the
text of the pinned held-out documents.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from flows.recipe import Recipe
from flows.run import run_journey
from pipeline.errors import InputError, StageError
from pipeline.handoff_record import HANDOFF, open_handoff
from pipeline.manifest import read_manifest
from pipeline.records import read_rows

RESULTS = "results.json"


def evaluate_trained(recipe: Recipe, run: Path, dataset: str, model: str, out: Path) -> Path:
    """Where the results.json of the evaluation lies; `out` is for one of a model from elsewhere."""
    if Path(model).resolve() == (run / "11-train").resolve():
        return _evaluate_stage(recipe, run, dataset)
    if not Path(model).exists():
        raise InputError(
            "handoff", f"the model lies at {model!r}, which cannot be read here",
            "bring it here and report again: primer report RUN --state done --model DIR",
        )  # fmt: skip
    from downstream.evaluate_path import evaluate_path

    texts = _held_out_texts(run, out / "held-out", recipe.evaluate.max_validation_bytes)
    evaluate_path(Path(model), out, recipe.evaluate, texts, recipe.quantize.types)
    return out / RESULTS


def _evaluate_stage(recipe: Recipe, run: Path, dataset: str) -> Path:
    trained = read_manifest(run / "11-train")
    if trained is None or trained.needs.get("handoff") != dataset:
        raise StageError(
            "handoff", f"{run / '11-train'} was not trained on this dataset", "train it again"
        )
    run_journey(recipe, run, start="quantize", until="evaluate")
    return run / "13-evaluate" / RESULTS


def _held_out_texts(run: Path, folder: Path, most_bytes: int) -> list[Path]:
    """The pinned held-out documents as files, code and prose told apart by their suffix."""
    handed = run / "10-handoff" / HANDOFF
    rows = read_rows(
        [handed.parent / open_handoff(handed).validation.documents.path],
        ["kind", "text", "n_bytes"],
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts: list[Path] = []
    written_bytes = 0
    for i, row in enumerate(rows):
        if texts and written_bytes + row["n_bytes"] > most_bytes:
            break
        texts.append(folder / f"{i:05}{'.py' if row['kind'] == 'code' else '.md'}")
        texts[-1].write_text(row["text"])
        written_bytes += row["n_bytes"]
    return texts
