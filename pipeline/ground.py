"""What plans are laid on: the curriculum and the personas that a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.curriculum import Curriculum, dump_curriculum, load_curriculum
from pipeline.curriculum_from_corpus import cluster_questions, curriculum_of, find_clusters
from pipeline.draws import Plan
from pipeline.extracts import Extract
from pipeline.factors import Factors, PlanConfig
from pipeline.personas import Persona, persona_questions, personas_of, reworded
from pipeline.records import read_rows
from pipeline.splits import ValidationConfig, in_validation
from pipeline.stage import Workplace
from pipeline.teacher import Teacher

BUILT_IN, FROM_CORPUS = "built-in", "from corpus"


@dataclass(frozen=True)
class Ground:
    """Everything that the plans of all tasks share."""

    config: PlanConfig
    seed: int
    curriculum: Curriculum | None
    personas: list[Persona]

    def plan(self, task: str, extracts: list[Extract]) -> Plan:
        """The plan of one task."""
        factors = Factors.of(self.config, task)
        return Plan(task, extracts, self.seed, factors, self.curriculum, self.personas)


def lay_ground(place: Workplace, teacher: Teacher, config: PlanConfig) -> Ground:
    """Read or make the curriculum, and make the personas; both from what was kept."""
    curriculum = _curriculum(place, teacher, config)
    personas = _personas(place, teacher, config)
    if curriculum is not None:
        (place.out / "curriculum.yaml").write_text(
            dump_curriculum(curriculum.skills), encoding="utf-8"
        )
    return Ground(config, place.seed, curriculum, personas)


def _curriculum(place: Workplace, teacher: Teacher, config: PlanConfig) -> Curriculum | None:
    if config.curriculum is None:
        return None
    if config.curriculum == BUILT_IN:
        return load_curriculum()
    if config.curriculum != FROM_CORPUS:
        return load_curriculum(Path(config.curriculum))
    clusters = find_clusters(_kept(place), config.curriculum_clusters, place.seed)
    questions = cluster_questions(clusters)
    with place.bar("naming clusters", len(questions)) as advance:
        answers = teacher.ask(questions, advance)
    return curriculum_of(clusters, answers)


def _personas(place: Workplace, teacher: Teacher, config: PlanConfig) -> list[Persona]:
    if config.max_personas is None:
        return []
    personas = personas_of(_kept(place), config.max_personas, place.seed)
    if not config.personas_by_teacher:
        return personas
    questions = persona_questions(_kept(place), personas)
    with place.bar("wording personas", len(questions)) as advance:
        answers = teacher.ask(questions, advance)
    return reworded(personas, answers)


def _kept(place: Workplace) -> Iterable[dict[str, Any]]:
    """Kept documents of groups that are not held out."""
    held_out = place.section(ValidationConfig)
    rows = read_rows(place.needs["apply-filter"].files("kept/*.parquet"))
    return (row for row in rows if not in_validation(row["group"], place.seed, held_out))
