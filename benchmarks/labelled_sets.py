"""The data sets on which active sampling is measured, and what their positives are.

They are cut from public sources and lie beside the project, which carries none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.standin_code import judge_code
from pipeline.standin_prose import judge_prose

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CODE, PROSE = "code/python_files.jsonl.gz", "web/prose.jsonl.gz"
LARGE, MIDDLE, SMALL = (100, 300, 900), (50, 100, 200), (40, 80)  # labels in all
Fields = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A data set, what its positives are, and what its documents are sampled by."""

    name: str
    half: str  # "chosen on" or "reported"
    file: str
    kind: str
    budgets: tuple[int, ...]
    score: Callable[[Fields], int]
    group: Callable[[Fields], str]
    source: Callable[[Fields], str]
    positive_score_min: int = 3


def page_or_repo(row: Fields) -> str:
    """A page of a crawl is a site of its own; other prose goes by its repository."""
    return own_text(row) if row["kind"] == "web" else str(row["repo"])


def own_text(row: Fields) -> str:
    return hashlib.sha256(str(row["text"]).encode()).hexdigest()


def _prose(row: Fields) -> int:
    return sum(holds for holds, _ in judge_prose(row["text"]))


TASKS = [
    Task("code, teaching", "chosen on", CODE, "code", LARGE,
         lambda r: 5 * (r["nature"] == "teaching"), lambda r: r["repo"],
         lambda r: "tests" if "test" in r["path"] else "other"),
    Task("code, rubric", "chosen on", CODE, "code", LARGE,
         lambda r: sum(holds for holds, _ in judge_code(r["text"])), lambda r: r["repo"],
         lambda r: r["nature"]),
    Task("java", "chosen on", "labelled/java_readability_human.jsonl.gz", "code", SMALL,
         lambda r: 5 * (float(r["score"]) >= 3.6), own_text, lambda r: "java"),
    Task("prose, textbook", "reported", PROSE, "web", LARGE,
         lambda r: 5 * (r["kind"] == "textbook"), page_or_repo, lambda r: Path(r["path"]).suffix),
    Task("prose, rubric", "reported", PROSE, "web", LARGE, _prose, page_or_repo,
         lambda r: r["kind"]),
    Task("prose, rubric's best", "reported", PROSE, "web", LARGE, _prose, page_or_repo,
         lambda r: r["kind"], 4),
    Task("danish", "reported", "labelled/fineweb_c_danish_edu_human.jsonl.gz", "web", MIDDLE,
         lambda r: 5 * (int(r["int_score"]) >= 1), own_text, lambda r: "danish"),
    Task("dclm", "reported", "labelled/dclm_human_quality.jsonl.gz", "web", SMALL,
         lambda r: 5 * int(r["label"]), own_text, lambda r: "dclm"),
]  # fmt: skip
