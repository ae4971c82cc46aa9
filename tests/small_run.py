"""A small real run up to the handoff: a part of this Python's library, built once for all tests.

Nothing is made by hand but the recipe and a benchmark of one sentence, which really stands in the
library's `json`. Tests that damage something take a copy.
"""

import functools
import json
import shutil
from pathlib import Path

import pytest
from made_once import made_once

from flows.journey import STAGES
from flows.recipe import Recipe, parse_recipe
from pipeline.errors import StageError
from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.stage import Sealed
from pipeline.step import make_plan, run_step

PACKAGES = ("asyncio", "collections", "concurrent", "ctypes", "email", "html", "http", "importlib",
            "json", "logging", "multiprocessing", "unittest", "urllib", "xml")  # fmt: skip
LEAKED = (
    "JSON (JavaScript Object Notation) <https://json.org> is a subset of JavaScript syntax "
    "(ECMA-262 3rd edition) used as a lightweight data interchange format."
)
SAMPLES = 150  # more than the arm with lessons has
UNTIL_HANDOFF = STAGES[:10]


def _source(name, kind, read, licence):
    include = [*(f"{package}/*.py" for package in PACKAGES), "[c-h]*.py"]
    exclude = ["*/*/*", "test/*", "site-packages/*", "encodings/*", "distutils/*", "ensurepip/*"]
    return {
        "name": name, "address": "${stdlib}", "kind": kind, "read": read, "licence": licence,
        "include": include, "exclude": exclude, "group_prefix": "stdlib", "group_depth": 2,
    }  # fmt: skip


def small_recipe(benchmark: Path) -> Recipe:
    """Whole stages on little input; one worker each, because starting another costs more."""
    sources = [
        _source("code", "code", "text", "PSF-2.0"),
        _source("docs", "web", "docstring", None),  # as if nobody knew
    ]
    return parse_recipe({
        "name": "small", "seed": 7,
        "ingest": {"sources": sources, "tasks": 2},
        "clean": {"workers": 1},
        "label": {"sample_size": 120},
        "train_filter": {"trees": 20, "folds": 2, "corpus_sample": 150, "workers": 1,
                         "purpose": {"kind": "keep_share", "value": 0.5}},
        "apply_filter": {"tasks": 1, "workers": 1},
        "synthesize": {"textbooks": 4, "exercises": 4, "max_redraws": 2},
        "decontaminate": {"workers": 1, "benchmarks": [
            {"name": "one-sentence", "path": str(benchmark), "fields": ["text"]}]},
        "validation": {"share": 0.1, "max_bytes": 10_000},
        "card": {"samples": SAMPLES},
        "tokenize": {"vocabulary": 400, "budget_tokens": 30_000, "anneal_share": 0.2},
    })  # fmt: skip


@functools.cache
def small_run() -> dict[str, Sealed]:
    """Every stage up to the handoff by name, sealed."""
    try:
        Sandbox("test", SandboxConfig())
    except StageError as error:
        pytest.skip(f"the stage synthesize cannot run here: {error}")
    return _run(made_once("small-run", _run))


def _run(folder: Path) -> dict[str, Sealed]:
    """Make what is missing of it; a second time nothing is."""
    benchmark = folder / "benchmark.jsonl"
    if not benchmark.exists():
        benchmark.write_text(json.dumps({"text": LEAKED}) + "\n")
    plan = make_plan(UNTIL_HANDOFF, small_recipe(benchmark), folder / "small")
    return {name: run_step(step) for name, step in plan.items()}


def copy_run(place: Path) -> Path:
    """A copy of the run to damage; returns its directory."""
    return shutil.copytree(small_run()["ingest"].path.parent, place / "small")
