"""Textbooks that do not repeat: what the stage accepts, and what the plan's randomness is worth.

    python -m benchmarks.synthesis [--quick] [--json FILE]

Real Python files and pages as the kept corpus, the stand-in as the writer (rules, no LLM: it shows
the machinery, and not what a model would write), pieces asked for until more than 2,000 stand. Then
an ablation on the same writer: as many drafts with the full plan, with the extract alone varied and
every other choice fixed, and with nothing varied but a twentieth of the extracts, asked for again
and again. Measured is the raw output, before anything is rejected. About 15 minutes on two cores.
The data is no part of the project; without it this says so and measures nothing.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measured import Row, arguments, report
from pipeline.diversity import compare_sets
from pipeline.draws import Draw, Plan
from pipeline.extracts import Extract, extract_all
from pipeline.factors import Factors, PlanConfig
from pipeline.flaws import FlawsConfig
from pipeline.gate import GateConfig
from pipeline.ledger import Ledger
from pipeline.lesson import Lesson
from pipeline.near_copies import nearest_earlier, signatures
from pipeline.records import DOCUMENT, make_doc_id, read_rows, write_table
from pipeline.stage import Outcome, Sealed, Stage, Workplace
from pipeline.standin_writer import write
from pipeline.step import make_plan, run_step
from pipeline.synthesis_config import SynthesizeConfig
from pipeline.synthesize import DIRECTORIES, STAGE

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = (("code/python_files.jsonl.gz", "code", "path"), ("web/prose.jsonl.gz", "web", "url"))
SLOTS, QUICK_SLOTS = (3_600, 300), (60, 20)  # of lessons, of exercises
DRAFTS, QUICK_DRAFTS = 600, 60  # of each arm of the ablation
_PYTHON = re.compile(r"^```python$", re.M)
SHOWN = ("distinct_2", "self_bleu_4", "compression_ratio", "near_duplicate_share_0.7",
         "vendi_score", "topic_coverage")  # fmt: skip


class Recipe:
    """The sections that the stage sees, the others as they are by default."""

    seed = 7

    def __init__(self, *sections: Any) -> None:
        self._given = {type(section): section for section in sections}

    def section(self, kind: Any) -> Any:
        return self._given.get(kind) or kind()


def main() -> None:
    """Write, count, compare."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"synthesis: there is no {DATA}; give it real files")
    documents = list(_documents(300 if options.quick else None))
    lessons, exercises = QUICK_SLOTS if options.quick else SLOTS
    with tempfile.TemporaryDirectory(prefix="primer-synthesis-") as folder:
        began = time.perf_counter()
        made = _run(Path(folder), documents, lessons, exercises)
        rows = list(_measured(made, time.perf_counter() - began))
    rows += _ablation(documents, QUICK_DRAFTS if options.quick else DRAFTS)
    report(rows, options.json)


def _documents(most: int | None) -> Iterator[dict[str, Any]]:
    for name, kind, path in FILES:
        with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
            for i, line in enumerate(lines):
                if most is not None and i >= most:
                    break
                row = json.loads(line)
                place = f"{row['repo']}/{row.get(path) or i}"
                yield {
                    "doc_id": make_doc_id(name, place, row["text"]), "text": row["text"],
                    "kind": kind, "source": name, "group": row["repo"], "url_or_path": place,
                    "licence": row.get("licence"), "language": None, "origin": "human",
                    "metadata": "{}",
                }  # fmt: skip


def _run(run: Path, documents: list[dict[str, Any]], lessons: int, exercises: int) -> Sealed:
    """The stage itself, on these documents as if a filter had kept them all."""

    def sealed(number: int, name: str, directory: str) -> Stage:
        def work(place: Workplace) -> Outcome:
            write_table(place.out / directory / "00000.parquet", documents, DOCUMENT)
            return Outcome(Ledger("rows", 0, 0))

        return Stage(number, name, 1, (), (), (), work)

    config = SynthesizeConfig(
        textbooks=lessons, exercises=exercises, max_redraws=6,
        gate=GateConfig(min_expected_score=None, min_rubric_score=None),
    )  # fmt: skip
    stages = [sealed(2, "clean", "documents"), sealed(4, "train-filter", "none"),
              sealed(5, "apply-filter", "kept"), STAGE]  # fmt: skip
    plan = make_plan(stages, Recipe(config), run)
    return [run_step(step) for step in plan.values()][-1]


def _measured(made: Sealed, seconds: float) -> Iterator[Row]:
    paths = [p for directory in DIRECTORIES.values() for p in made.files(f"{directory}/*.parquet")]
    pieces = list(read_rows(paths, ["text", "metadata"]))
    alike = nearest_earlier(signatures([piece["text"] for piece in pieces]))
    coverage = json.loads(made.file("coverage.json").read_text())
    yield Row("accepted pieces", len(pieces), "pieces", 2_000, "min")
    yield Row("drafts", made.ledger.rows_in, "drafts")
    yield Row("near copies over 0.7 among them", 100 * float((alike > 0.7).mean()), "%", 0.5)
    for task, found in coverage.items():
        name = f"{task}s: pairs of choices covered, of what the plan allows"
        lowest = {"lowest": 100 * found["lowest_share"]}
        yield Row(name, 100 * found["share"], "%", 95, "min", lowest)
    told = [(piece["text"], json.loads(piece["metadata"])) for piece in pieces]
    lessons = [(text, one["code"]["executed"]) for text, one in told if one["task"] == "lesson"]
    whole = [executed >= len(_PYTHON.findall(text)) for text, executed in lessons]
    share = 100 * sum(whole) / len(whole)
    yield Row("lessons with every block of Python executed", share, "%", 100, "min")
    yield Row("drafts judged", made.ledger.rows_in / seconds, "drafts/s")


def _ablation(documents: Sequence[dict[str, Any]], drafts: int) -> Iterator[Row]:
    """The raw output of three plans of as many drafts, beside human text."""
    code = [row for row in documents if row["kind"] == "code"]
    extracts = [extract for row in code for extract in extract_all(row, 4_000)]
    taught = [one for one in extracts[: 12 * drafts] if _text(_plan([one]).draw(0), one)]
    plan, few = _plan(taught), max(1, drafts // 20)
    full = [plan.draw(slot) for slot in range(drafts)]
    fixed = [replace(full[0], extract=one.extract) for one in full]
    arms = {
        "full plan": full,
        "topic only": fixed,
        "no randomness": [fixed[slot % few] for slot in range(drafts)],
    }
    sets = {
        name: [text for one in draws if (text := _text(one, taught[one.extract]))]
        for name, draws in arms.items()
    }
    sets["human_reference"] = [row["text"][:4_000] for row in documents if row["kind"] == "web"]
    found = compare_sets(sets, 7)["sets"]
    for measure in SHOWN:
        of = {name: one["at_equal_size"][measure] for name, one in found.items()}
        means = {name: spread["mean"] for name, spread in of.items() if spread}
        if "full plan" in means:
            ours = means.pop("full plan")
            yield Row(f"raw output, {measure}: full plan", ours, "", peers=means)


def _plan(extracts: Sequence[Extract]) -> Plan:
    return Plan("lesson", extracts, 7, Factors.of(PlanConfig(), "lesson"))


def _text(one: Draw, extract: Extract) -> str:
    """What the stand-in writes to a draw; empty where it refuses."""
    task = Lesson(Factors.of(PlanConfig(), "lesson"), None, FlawsConfig())
    return str(write("lesson", list(task.messages(one, extract)))["text"])


if __name__ == "__main__":
    main()
