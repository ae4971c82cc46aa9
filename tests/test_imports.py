"""Imports point one way, and what answers at once imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("classifiers", "pipeline", "downstream", "flows", "catalog")
MAY_IMPORT = {
    "classifiers": set(),
    "pipeline": {"classifiers"},
    "downstream": {"pipeline"},
    "flows": {"downstream", "pipeline", "catalog"},  # the command starts the catalog
    "catalog": {"downstream", "pipeline"},
}
# The one door from curating to training: the contract, the records and the opened handoff.
DOOR = {"config", "errors", "handoff_record", "ledger", "manifest", "metrics", "progress",
        "records", "splits", "stage", "step"}  # fmt: skip
# Benchmarks are read as where they are kept out; what a model writes is executed where exercises
# are, and judged by whoever judges them.
ALSO = {
    "benchmark_rows.py": {"benchmark_file"},
    "generated_code.py": {"run_blocks", "sandbox"},
    "judge.py": {"prompts", "purse", "question", "task", "teacher", "teacher_config"},
}
HEAVY = {"torch", "sklearn", "datatrove", "openai", "prefect", "transformers", "llama_cpp",
         "matplotlib", "numba", "onnxruntime", "fasttext", "mlcroissant", "scipy", "duckdb",
         "starlette", "prometheus_client"}  # fmt: skip


def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).glob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    ours = set(PACKAGES) - {package} - MAY_IMPORT[package]
    for path in files_of(package):
        wrong = {name for name in imports_of(path) if name.split(".")[0] in ours}
        assert not wrong, f"{path.name} imports {sorted(wrong)}"


def test_training_takes_from_curating_only_through_the_door():
    for path in files_of("downstream"):
        taken = {n.split(".")[1] for n in imports_of(path) if n.startswith("pipeline.")}
        beyond = taken - DOOR - ALSO.get(path.name, set())
        assert not beyond, f"{path.name} imports {sorted(beyond)} of pipeline"


def test_folders_are_one_level_deep_and_files_stay_readable():
    for package in PACKAGES:
        folders = [p.name for p in (ROOT / package).iterdir() if p.is_dir()]
        assert set(folders) <= {"__pycache__"}
        for path in files_of(package):
            assert len(path.read_text().splitlines()) <= 320, f"{path} is more than one idea"


def test_scoring_opens_without_what_only_training_needs():
    script = "import sys, classifiers.scorer; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"sklearn", "onnxruntime", "fasttext", "matplotlib"} & set(done.stdout.split())


@pytest.mark.parametrize("module", ["flows.main", "flows.recipe", "flows.journey", "flows.show"])
def test_what_answers_at_once_imports_nothing_heavy(module):
    script = f"import sys, {module}; print(*sorted(set(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    heavy = HEAVY & set(done.stdout.split())
    assert not heavy, f"importing {module} loads {sorted(heavy)}"
