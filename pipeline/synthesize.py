"""Stage 6: textbooks, books and exercises, written to a plan, executed, and never twice.

Each slot of a plan is one draw (`pipeline.draws`) over extracts of kept documents. Slots are asked
for in rounds (`pipeline.rounds`): code is executed, the forest and the rubric weigh what stands,
near copies of what was accepted before are rejected with the id of their twin, and a rejected slot
is drawn anew a bounded number of times. The accepted set does not depend on timing, so that a
killed run ends with the same one.

What it costs: one request a draw and one for the rubric's word on what stands; some 30 ms of
sandbox for each block of code; under 1 KiB of memory a piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.book_rounds import write_books
from pipeline.curriculum import load_curriculum
from pipeline.draws import Plan
from pipeline.errors import StageError
from pipeline.exercise import Exercise
from pipeline.extracts import Extract
from pipeline.factors import Factors
from pipeline.gate import Gate
from pipeline.ground import BUILT_IN, FROM_CORPUS, Ground, lay_ground
from pipeline.increment import IncrementConfig, VersionedStage, grown, inherited_or, parent_stage
from pipeline.instruction import Instruction
from pipeline.label import LabelConfig
from pipeline.lesson import Lesson
from pipeline.material import Material, mixed, read_material
from pipeline.open_teacher import open_teacher
from pipeline.records import read_rows
from pipeline.rephrase import Rephrase
from pipeline.rounds import Desk
from pipeline.sandbox import Sandbox
from pipeline.shelf import open_shelf
from pipeline.splits import ValidationConfig
from pipeline.stage import Outcome, Sections, Workplace
from pipeline.synthesis_config import SynthesizeConfig
from pipeline.synthesis_report import MOST_TEXTS, report_synthesis
from pipeline.task import Task
from pipeline.teacher_config import TeacherConfig
from pipeline.twins import Twins, encoder_files
from pipeline.verdicts import Verdicts

DIRECTORIES = {
    "lesson": "textbooks", "book": "books", "exercise": "exercises", "rephrase": "rephrased",
    "instruction": "instructions",
}  # fmt: skip


def planned(config: SynthesizeConfig) -> dict[str, int]:
    """Slots by task, without those that a recipe does not ask for."""
    slots = {
        "lesson": config.textbooks, "exercise": config.exercises, "book": config.book.books,
        "rephrase": config.rephrased, "instruction": config.instructions,
    }  # fmt: skip
    return {task: n for task, n in slots.items() if n}


def synthesize(place: Workplace) -> Outcome:
    """Plan, ask in rounds, settle in order, report."""
    config = place.section(SynthesizeConfig)
    twins = Twins(config.twins)
    _remember_earlier(place, twins)
    material = _material(place, config)
    with (
        open_teacher(place, place.section(TeacherConfig)) as teacher,
        closing(Sandbox(place.stage, config.sandbox)) as sandbox,
        closing(Verdicts(place.scratch / "verdicts.sqlite", config.workers)) as verdicts,
    ):
        ground = lay_ground(place, teacher, config.plan)
        gate = Gate(place, teacher, config.gate)
        with open_shelf(place.out, DIRECTORIES, twins) as shelf:
            desk = Desk(
                place, teacher, sandbox, verdicts, gate, shelf,
                config.max_answer_tokens, config.max_redraws, config.max_twins_in_row,
            )  # fmt: skip
            plans = _write(desk, ground, material, config)
    if not shelf.accepted:
        raise StageError(
            place.stage,
            f"none of {shelf.asked} drafts was accepted ({dict(shelf.dropped + shelf.failed)})",
            "look at rejects.parquet, or loosen synthesize.gate and synthesize.twins; a version "
            "may set increment.synthesize to false",
        )
    report = report_synthesis(
        place.out, place.seed, material.reference, plans, desk.stocks, twins.encoder
    )
    facts = _facts(config, desk, report)
    return Outcome(shelf.ledger, facts | grown(parent_stage(place)), teacher.spend)


def _remember_earlier(place: Workplace, twins: Twins) -> None:
    """What earlier versions accepted is not written again: their pieces, less those that leaked."""
    arms = parent_stage(place, "decontaminate")
    if arms is not None:
        files = arms.files("arms/kept+synthetic/*.parquet")
        for row in read_rows(files, ["doc_id", "text", "origin"]):
            if row["origin"] == "synthetic":
                twins.settle(row["doc_id"], row["text"])


def _material(place: Workplace, config: SynthesizeConfig) -> Material:
    """Raises StageError where what a task is grounded in does not exist."""
    band = (config.rephrase.min_expected_score, config.rephrase.max_expected_score)
    wanted = planned(config)
    material = read_material(
        place, band if "rephrase" in wanted else None, config.max_extracts, config.extract_chars,
        MOST_TEXTS,
    )  # fmt: skip
    if not material.code and set(wanted) - {"rephrase"}:
        raise StageError(
            place.stage,
            "no kept document holds a function that stands by itself",
            "keep more code: lower the filter's threshold or add sources; a version may set "
            "increment.synthesize to false",
        )
    if not material.middling and "rephrase" in wanted:
        raise StageError(
            place.stage,
            f"no page of clean text has an expected score of {band[0]} to {band[1]}",
            "widen synthesize.rephrase, or set synthesize.rephrased to 0",
        )
    return material


def _write(
    desk: Desk, ground: Ground, material: Material, config: SynthesizeConfig
) -> dict[str, Plan]:
    """Fill all slots, task by task, and return the plans that they were filled by."""
    plans = {}
    for name, slots in planned(config).items():
        extracts = _extracts(name, material, config)
        plan = plans[name] = ground.plan(name, extracts)
        if name == "book":
            write_books(desk, plan, extracts, config.book, config.slots_at_once)
            continue
        task = make_task(name, config, ground)
        for first in range(0, slots, config.slots_at_once):
            block = range(first, min(first + config.slots_at_once, slots))
            desk.write(task, plan, extracts, block)
    return plans


def _extracts(task: str, material: Material, config: SynthesizeConfig) -> list[Extract]:
    """What the draws of a task choose from."""
    match task:
        case "rephrase":
            return material.middling
        case "exercise":
            return material.code
        case _:
            return mixed(material.code, material.prose, config.prose_share)


def make_task(name: str, config: SynthesizeConfig, ground: Ground) -> Task:
    """The task of a name; books have none, since they take many questions."""
    factors = Factors.of(config.plan, name)
    match name:
        case "lesson":
            return Lesson(factors, ground.curriculum, config.flaws)
        case "exercise":
            return Exercise(factors, ground.curriculum)
        case "rephrase":
            return Rephrase(config.rephrase, factors)
        case _:
            return Instruction(factors, config.instruction)


def _facts(config: SynthesizeConfig, desk: Desk, report: dict[str, Any]) -> dict[str, Any]:
    wanted, shelf, teacher = planned(config), desk.shelf, desk.teacher
    return {
        "accepted": {task: shelf.accepted[task] for task in DIRECTORIES},
        "wanted": {task: wanted.get(task, 0) for task in DIRECTORIES},
        "slots_not_asked_for": dict(desk.not_asked),
        "code_blocks_executed": shelf.blocks_executed,
        "sandbox": desk.sandbox.protection,
        "writer": teacher.name,
        "writer_is_llm": teacher.is_llm,
        "coverage": {task: found["share"] for task, found in report["coverage"].items()},
        "gate": config.gate.model_dump(),
        "twins": config.twins.model_dump(mode="json"),
    }


def _inputs(recipe: Sections) -> Iterator[tuple[str, Path]]:
    """A curriculum of the user's own, and the files of an encoder."""
    config = recipe.section(SynthesizeConfig)
    yield from encoder_files(config.twins)
    named = config.plan.curriculum
    if named not in (None, BUILT_IN, FROM_CORPUS):
        load_curriculum(Path(named))  # what is wrong with it is said before anything is paid
        yield "curriculum", Path(named)


STAGE = VersionedStage(
    number=6,
    name="synthesize",
    version=4,
    needs=("clean", "train-filter", "apply-filter"),
    makes=(*(f"{name}/*.parquet" for name in DIRECTORIES.values()), "rejects.parquet",
           "diversity.json", "diversity.html", "diversity_*.png", "coverage.json", "coverage.png"),
    sees=(SynthesizeConfig, TeacherConfig, LabelConfig, ValidationConfig, IncrementConfig),
    continues=("decontaminate",),
    work=inherited_or(synthesize),
    inputs=_inputs,
)  # fmt: skip
