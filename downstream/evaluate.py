"""Stage 13: how good, how fast and how large every arm's every quantized model is.

Quality is bits per byte of the pinned validation text, through llama.cpp, per document: it does not
depend on the tokenizer or on the clock; beside it stand likeness to F16, benchmark tasks where the
recipe names them, and what packers and token pairs need for the same text. A directory is an arm,
or an arm and a seed (`kept@2`): seeds are averaged, and arms compared on the same documents. Speed
and memory are measured in fresh processes, all files in turn, several times round. A gate says
whether a quantized model may replace F16.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from downstream.baselines import bigram_bits_per_byte, packed_bits_per_byte
from downstream.differences import compare_arms
from downstream.evaluate_config import EvaluateConfig
from downstream.evaluation import (
    Candidate,
    Evaluation,
    Measured,
    bits_per_byte,
    summarize,
    write_rounds,
)
from downstream.machine import describe_machine
from downstream.measuring import once
from downstream.report import write_reports
from downstream.results import conclude, write_results
from pipeline.handoff_record import Handoff, open_handoff
from pipeline.ledger import Ledger
from pipeline.records import read_rows, write_table
from pipeline.stage import Outcome, Sections, Stage, Workplace

__all__ = ["RESULT", "STAGE", "EvaluateConfig", "bits_per_byte", "evaluate"]

RESULT = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),
        pa.field("seed", pa.string()),  # null where the arm was trained once
        pa.field("type", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),  # whether the filter would keep it
        pa.field("n_bytes", pa.int64(), nullable=False),
        pa.field("scored_tokens", pa.int64(), nullable=False),
        pa.field("nats", pa.float64(), nullable=False),
    ]
)


def evaluate(place: Workplace) -> Outcome:
    """Measure every file, and write results and the report."""
    config = place.section(EvaluateConfig)
    handed = place.needs["handoff"].file("handoff.json")
    handoff = open_handoff(handed)
    validation = handed.parent / handoff.validation.documents.path
    evaluation = Evaluation(find_candidates(place), validation, config, place.scratch)
    with place.bar("measuring", evaluation.steps()) as advance:
        found = evaluation.run(advance)
    machine = once(place.scratch / "machine.json", lambda: describe_machine(config.threads))
    rows = _rows(found, validation)
    documents = _documents(rows, validation)
    baselines: dict[str, float | None] = {
        **packed_bits_per_byte([row["text"] for row in documents]),
        **_bigrams(handed.parent, handoff, documents, {row["arm"] for row in rows}),
    }
    of = {
        "dataset": handoff.dataset,
        "dataset_fingerprint": place.needs["handoff"].manifest.fingerprint,
        "labels_by": str(handoff.teacher["annotator"]),
        "documents": len(documents),
        "bytes": sum(row["n_bytes"] for row in documents),
    }
    results = conclude(
        summarize(evaluation, found), config, of, machine, compare_arms(rows, place.seed), baselines
    )
    write_results(place.out, results)
    write_reports(place.out, results)
    write_rounds(place.out / "speed.json", found)
    for arm in sorted({row["arm"] for row in rows}):
        own = [row for row in rows if row["arm"] == arm]
        write_table(place.out / arm / "results.parquet", own, RESULT)
    told = results.model_dump(mode="json")
    files = len(evaluation.candidates)
    facts = {
        name: told[name]
        for name in ("models", "baselines", "comparisons", "gate", "claims", "recommendations")
    }
    return Outcome(Ledger("models", files, files), facts)


def find_candidates(place: Workplace) -> list[Candidate]:
    """Every GGUF file of stage 12; a directory is named by its arm, or arm@seed."""
    types = list(place.needs["quantize"].facts["types"])
    found = []
    for path in place.needs["quantize"].files("*/model-*.gguf"):
        arm, _, seed = path.parent.name.partition("@")
        found.append(Candidate(arm, seed or None, path.stem.removeprefix("model-"), path))
    order = {kind: i for i, kind in enumerate(types)}
    return sorted(
        found, key=lambda one: (one.arm, one.seed or "", order.get(one.type, len(order)), one.type)
    )


def _rows(found: Measured, validation: Path) -> list[dict[str, Any]]:
    group = {row["doc_id"]: row["group"] for row in read_rows([validation], ["doc_id", "group"])}
    return [
        {"arm": one.arm, "seed": one.seed, "type": one.type, "group": group[row["doc_id"]], **row}
        for one, rows in found.quality.items()
        for row in rows
    ]


def _documents(rows: list[dict[str, Any]], validation: Path) -> list[dict[str, Any]]:
    """The documents that were measured, with their text and tokens."""
    chosen = {row["doc_id"] for row in rows}
    return [
        row
        for row in read_rows([validation], ["doc_id", "text", "n_bytes", "tokens"])
        if row["doc_id"] in chosen
    ]


def _bigrams(
    root: Path, handoff: Handoff, documents: list[dict[str, Any]], arms: set[str]
) -> dict[str, float | None]:
    """A table of token pairs for each arm that was measured."""
    return {
        f"token bigrams of {arm.name}": bigram_bits_per_byte(
            root, arm, handoff.token_dtype, handoff.vocabulary, handoff.end_of_text, documents
        )
        for arm in handoff.arms
        if arm.name in arms
    }


def _task_files(recipe: Sections) -> Iterable[tuple[str, Path]]:
    """The benchmark files that the recipe names: their content decides what is measured."""
    tasks = recipe.section(EvaluateConfig).tasks
    for task in tasks.tasks if tasks else ():
        for path in (task.path, task.fewshot_path):
            if path is not None:
                yield path, Path(path)


STAGE = Stage(
    number=13,
    name="evaluate",
    version=4,
    needs=("quantize", "handoff"),
    makes=("*/results.parquet", "results.json", "speed.json", "report.md", "report.html", "*.png"),
    sees=(EvaluateConfig,),
    work=evaluate,
    volatile=("results.json", "speed.json", "report.md", "report.html", "*.png"),
    inputs=_task_files,
)
