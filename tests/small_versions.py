"""Three small real versions of one dataset, up to the handoff: made once for all tests.

The corpus is a copy of packages of this Python's library. Between the versions files arrive, one is
changed, one is removed, and one comes that is a copy of another. `runs/` holds the versions, and
`runs-v1/` the first alone, from which tests go on in another way.
"""

import functools
import json
import shutil
import sysconfig
from pathlib import Path

import pytest
from made_once import made_once
from small_run import LEAKED

from flows.append import plan_version
from flows.journey import STAGES
from flows.recipe import Recipe, dump_recipe, parse_recipe
from pipeline.errors import StageError
from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.stage import Sealed
from pipeline.step import make_plan, run_step
from pipeline.verify import sealed_stages

FIRST = ("asyncio", "collections", "concurrent", "email", "html", "http", "importlib", "json",
         "logging", "multiprocessing", "unittest", "urllib", "xml")  # fmt: skip
SECOND = ("wsgiref", "sqlite3", "ctypes")
THIRD = ("curses", "dbm")
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
STAGES_OF_DATASET = STAGES[:10]


def versions() -> Path:
    """The folder with `corpus`, `runs` and `runs-v1`."""
    try:
        Sandbox("test", SandboxConfig())
    except StageError as error:
        pytest.skip(f"the stage synthesize cannot run here: {error}")
    return made_once("small-versions", _make)


@functools.cache
def version(number: int) -> dict[str, Sealed]:
    """The sealed stages of a version by name."""
    name = "small" if number == 1 else f"small-v{number}"
    stages = sealed_stages(versions() / "runs" / name)
    return {stage: Sealed(*found) for stage, found in stages.items()}


def _make(folder: Path) -> None:
    corpus, runs = folder / "corpus", folder / "runs"
    arrive(corpus, *FIRST)
    (folder / "benchmark.jsonl").write_text(json.dumps({"text": LEAKED}) + "\n")
    seal(small_recipe(folder), runs / "small")
    shutil.copytree(runs, folder / "runs-v1")
    arrive(corpus, *SECOND)
    shutil.copy(corpus / "json" / "decoder.py", corpus / "json" / "copied.py")
    changed = corpus / "json" / "tool.py"
    changed.write_text((corpus / "asyncio" / "queues.py").read_text() + "\n\nCHANGED = True\n")
    (corpus / "html" / "entities.py").unlink()
    seal(*plan_version(runs / "small"))
    arrive(corpus, *THIRD)
    seal(*plan_version(runs / "small"))


def arrive(corpus: Path, *packages: str) -> None:
    """Copy packages of the library into the corpus."""
    for package in packages:
        for file in sorted((LIBRARY / package).glob("*.py")):
            (corpus / package).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, corpus / package / file.name)


def seal(recipe: Recipe, run: Path) -> dict[str, Sealed]:
    """The stages of the dataset without Prefect, which takes seconds to start."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    plan = make_plan(STAGES_OF_DATASET, recipe, run)
    return {name: run_step(step) for name, step in plan.items()}


def small_recipe(folder: Path) -> Recipe:
    """Whole stages on little input; the stand-in labels and writes."""
    sources = [_source(folder, "code", "code", "text", "PSF-2.0"),
               _source(folder, "docs", "web", "docstring", None)]  # fmt: skip
    return parse_recipe({
        "name": "small", "seed": 7,
        "ingest": {"sources": sources, "tasks": 2},
        "clean": {"workers": 1},
        "label": {"sample_size": 120},
        "train_filter": {"trees": 20, "folds": 2, "corpus_sample": 150, "workers": 1,
                         "purpose": {"kind": "keep_share", "value": 0.5}},
        "apply_filter": {"tasks": 1, "workers": 1, "drift": {"documents_min": 20}},
        "synthesize": {"textbooks": 2, "exercises": 2, "max_redraws": 2},
        "decontaminate": {"workers": 1, "benchmarks": [
            {"name": "one-sentence", "path": str(folder / "benchmark.jsonl"),
             "fields": ["text"]}]},
        "validation": {"share": 0.1, "max_bytes": 10_000},
        "card": {"samples": 5},
        "tokenize": {"vocabulary": 400, "anneal_share": 0.2},
    })  # fmt: skip


def _source(folder: Path, name: str, kind: str, read: str, licence: str | None):
    return {
        "name": name, "address": str(folder / "corpus"), "kind": kind, "read": read,
        "licence": licence, "include": ["*.py"], "group_prefix": "stdlib", "group_depth": 2,
    }  # fmt: skip
