"""Stage 6: textbooks and exercises, written to a plan, executed, and never twice.

Each slot of the plan is one draw (`pipeline.draws`) over extracts of kept documents. Answers are
judged in the order of the plan: code is executed, near copies of what was accepted before are
rejected with the id of their twin, and a rejected slot is drawn anew a bounded number of times.
Rounds make the accepted set independent of timing, so that a killed run ends with the same one.

What it costs: one request a draw, and about 50 ms of sandbox for each code block.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.diversity import measure_diversity
from pipeline.draws import Draw, draw
from pipeline.errors import StageError
from pipeline.extracts import Extract, extract_all
from pipeline.judge_piece import Judged, judge_exercise, judge_lesson
from pipeline.ledger import Ledger
from pipeline.near_copies import NearCopies, Signature, signature
from pipeline.open_teacher import open_teacher
from pipeline.prompts import SCHEMAS, render_prompt
from pipeline.question import Answer, Question
from pipeline.records import DOCUMENT, SYNTHETIC_REJECT, make_doc_id, read_rows, write_table
from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.splits import ValidationConfig, in_validation, place_of
from pipeline.stage import Outcome, Stage, Workplace
from pipeline.teacher import Teacher
from pipeline.teacher_config import TeacherConfig


class SynthesizeConfig(Section):
    """What is written, and what is accepted."""

    textbooks: int = Field(200, ge=1, le=10_000_000, description="Slots for pieces of textbooks.")
    exercises: int = Field(100, ge=1, le=10_000_000, description="Slots for exercises.")
    max_redraws: int = Field(4, ge=0, le=50, description="Further draws of a rejected slot.")
    max_similarity: float = Field(
        0.7, gt=0.3, lt=1, description="More alike than this is a near copy (Jaccard, 5-grams)."
    )
    prose_share: float = Field(
        0.25, ge=0, le=1, description="Share of the extracts for textbooks taken from prose."
    )
    max_extracts: int = Field(
        5_000, ge=1, le=1_000_000, description="Extracts of each kind to draw from at most."
    )
    extract_chars: int = Field(
        4_000, ge=500, le=50_000, description="Characters of an extract at most."
    )
    max_answer_tokens: int = Field(
        4_000, ge=200, le=32_000, description="Tokens of an answer at most."
    )
    sandbox: SandboxConfig = Field(SandboxConfig(), description="Where code is executed.")
    workers: int = Field(
        2, ge=1, le=64, description="Pieces judged at once.", json_schema_extra=HOW
    )


@dataclass
class Shelf:
    """What was accepted and rejected so far, and what was seen on the way."""

    copies: NearCopies
    accepted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    raw_texts: list[str] = field(default_factory=list)
    asked: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    executed: int = 0


def synthesize(place: Workplace) -> Outcome:
    """Plan, ask in rounds, judge in order, write."""
    config = place.section(SynthesizeConfig)
    code, prose, reference = _material(place, config)
    shelf = Shelf(NearCopies(config.max_similarity), {"lesson": [], "exercise": []})
    sandbox = Sandbox(place.stage, config.sandbox)
    with open_teacher(place, place.section(TeacherConfig)) as teacher:
        for task, slots in (("lesson", config.textbooks), ("exercise", config.exercises)):
            extracts = _mixed(code, prose, config.prose_share) if task == "lesson" else code
            open_slots = [(slot, 0) for slot in range(slots)]
            while open_slots:
                open_slots = _round(place, teacher, sandbox, shelf, task, open_slots, extracts)
    if not shelf.accepted["lesson"] and not shelf.accepted["exercise"]:
        raise StageError(
            place.stage,
            f"none of {shelf.asked} drafts was accepted ({dict(shelf.dropped + shelf.failed)})",
            "look at the teacher, or loosen synthesize.max_similarity",
        )
    _write(place, shelf, reference)
    kept = sum(map(len, shelf.accepted.values()))
    facts = {
        "textbooks_accepted": len(shelf.accepted["lesson"]),
        "exercises_accepted": len(shelf.accepted["exercise"]),
        "textbooks_wanted": config.textbooks,
        "exercises_wanted": config.exercises,
        "code_blocks_executed": shelf.executed,
        "sandbox": sandbox.protection,
        "writer": teacher.name,
        "writer_is_llm": teacher.is_llm,
    }
    ledger = Ledger(
        "drafts", shelf.asked, kept,
        dict(sorted(shelf.dropped.items())), dict(sorted(shelf.failed.items())),
    )  # fmt: skip
    return Outcome(ledger, facts, teacher.spend)


def _material(
    place: Workplace, config: SynthesizeConfig
) -> tuple[list[Extract], list[Extract], list[str]]:
    """Extracts of code and of prose in a seeded order, and human texts to compare with."""
    held_out = place.section(ValidationConfig)
    found: dict[str, list[Extract]] = {"code": [], "web": []}
    reference: list[tuple[float, str]] = []
    for row in read_rows(place.needs["apply-filter"].files("kept/*.parquet")):
        if in_validation(row["group"], place.seed, held_out):
            continue
        found[row["kind"]] += extract_all(row, config.extract_chars)
        reference.append((place_of(row["doc_id"], place.seed, "reference"), row["text"]))
    if not found["code"]:
        raise StageError(
            place.stage,
            "no kept document holds a function that stands by itself",
            "keep more code: lower the filter's threshold or add sources",
        )
    for kind, extracts in found.items():
        extracts.sort(key=lambda e: place_of(e.doc_id + e.topic, place.seed, "extract"))
        found[kind] = extracts[: config.max_extracts]
    most = config.textbooks + config.exercises
    texts = [text[: config.extract_chars] for _, text in sorted(reference)[:most]]
    return found["code"], found["web"], texts


def _mixed(code: list[Extract], prose: list[Extract], prose_share: float) -> list[Extract]:
    """Code and prose in the stated shares, as far as there is prose."""
    if not prose or prose_share == 0:
        return code
    wanted = round(len(code) * prose_share / max(1e-9, 1 - prose_share))
    return code + prose[:wanted]


def _round(
    place: Workplace, teacher: Teacher, sandbox: Sandbox, shelf: Shelf, task: str,
    slots: list[tuple[int, int]], extracts: list[Extract],
) -> list[tuple[int, int]]:  # fmt: skip
    """Ask for these slots, judge in order, and return the slots that are drawn anew."""
    config = place.section(SynthesizeConfig)
    draws = [draw(task, slot, turn, len(extracts), place.seed) for slot, turn in slots]
    questions = [_question(d, extracts[d.extract], config) for d in draws]
    with place.bar(f"{task}s, round {slots[0][1] + 1}", len(draws)) as advance:
        answers = teacher.ask(questions, advance)
    judge = judge_lesson if task == "lesson" else judge_exercise
    with ThreadPoolExecutor(config.workers) as pool:
        verdicts = list(pool.map(lambda a: _judge(a, judge, sandbox), answers))
    again = []
    for one, answer, verdict in zip(draws, answers, verdicts, strict=True):
        if not _shelve(shelf, one, answer, verdict, extracts[one.extract], teacher.name):
            again.append((one.slot, one.attempt + 1))
    return [(slot, turn) for slot, turn in again if turn <= config.max_redraws]


def _question(one: Draw, extract: Extract, config: SynthesizeConfig) -> Question:
    return Question(
        key=one.prompt_id,
        messages=render_prompt(one, extract),
        schema_name=one.task,
        schema=SCHEMAS[one.task],
        max_tokens=config.max_answer_tokens,
    )


def _judge(
    answer: Answer, judge: Callable[[dict[str, Any], Sandbox], Judged], sandbox: Sandbox
) -> Judged:
    if answer.content is None:
        return Judged(answer.problem, (answer.raw or "")[:200], 0)
    if answer.content["refusal"]:
        return Judged("nothing_to_teach", answer.content["refusal"], 0)
    return judge(answer.content, sandbox)


def _shelve(
    shelf: Shelf, one: Draw, answer: Answer, verdict: Judged, extract: Extract, writer: str
) -> bool:
    """Accept a piece or write down why not; near copies are only known in the plan's order."""
    shelf.asked += 1
    shelf.executed += verdict.blocks
    reason, evidence = verdict.reason, verdict.evidence
    sketch: Signature | None = None
    if answer.content is not None and not answer.content["refusal"]:
        text = _text_of(one.task, answer.content)
        shelf.raw_texts.append(text)
        sketch = signature(text)
        twin = shelf.copies.twin_of(sketch)
        if reason is None and twin is not None:
            reason, evidence = "near_copy", f"of {twin[0]}, similarity {twin[1]:.2f}"
    if reason is None and answer.content is not None and sketch is not None:
        row = _document(one, _text_of(one.task, answer.content), extract, writer)
        shelf.accepted[one.task].append(row)
        shelf.copies.add(row["doc_id"], sketch)
        return True
    (shelf.failed if answer.content is None else shelf.dropped)[reason or "unknown"] += 1
    shelf.rejects.append(
        {"prompt_id": one.prompt_id, "reason": reason, "evidence": evidence,
         "draw": json.dumps(one.record())}
    )  # fmt: skip
    return False


def _text_of(task: str, content: dict[str, Any]) -> str:
    if task == "lesson":
        return str(content["text"])
    return f"{content['solution'].rstrip()}\n\n\n{content['tests'].strip()}\n"


def _document(one: Draw, text: str, extract: Extract, writer: str) -> dict[str, Any]:
    return {
        "doc_id": make_doc_id("synthetic", one.prompt_id, text),
        "text": text,
        "kind": "web" if one.task == "lesson" else "code",
        "source": "synthetic",
        "group": extract.group,  # what was grounded in a group belongs to it in every split
        "url_or_path": one.prompt_id,
        "licence": extract.licence,
        "language": "en" if one.task == "lesson" else "python",
        "origin": "synthetic",
        "metadata": json.dumps(
            {"grounded_in": [extract.doc_id], "grounded_licences": [extract.licence],
             "draw": one.record(), "annotator": writer}
        ),
    }  # fmt: skip


def _write(place: Workplace, shelf: Shelf, reference: list[str]) -> None:
    for task, name in (("lesson", "textbooks"), ("exercise", "exercises")):
        write_table(place.out / name / "00000.parquet", shelf.accepted[task], DOCUMENT)
    write_table(place.out / "rejects.parquet", shelf.rejects, SYNTHETIC_REJECT)
    accepted = [row["text"] for rows in shelf.accepted.values() for row in rows]
    report = {
        "accepted": measure_diversity(accepted, place.seed),
        "raw": measure_diversity(shelf.raw_texts, place.seed),
        "human_reference": measure_diversity(reference, place.seed),
        "factors": _coverage(shelf),
    }
    (place.out / "diversity.json").write_text(json.dumps(report, indent=1) + "\n")
    _plot(place, report["factors"]["audience x format"])


def _coverage(shelf: Shelf) -> dict[str, dict[str, int]]:
    """Accepted pieces by factor, and by the pair that decides most."""
    counts: dict[str, Counter[str]] = {}
    for rows in shelf.accepted.values():
        for row in rows:
            one = json.loads(row["metadata"])["draw"]
            for name in ("audience", "format", "style"):
                counts.setdefault(name, Counter())[one[name]] += 1
            pair = f"{one['audience']} x {one['format']}"
            counts.setdefault("audience x format", Counter())[pair] += 1
    return {name: dict(sorted(counter.items())) for name, counter in sorted(counts.items())}


def _plot(place: Workplace, pairs: dict[str, int]) -> None:
    from matplotlib.figure import Figure

    audiences = sorted({pair.split(" x ")[0] for pair in pairs})
    formats = sorted({pair.split(" x ")[1] for pair in pairs})
    table = np.array([[pairs.get(f"{a} x {f}", 0) for f in formats] for a in audiences])
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(table, cmap="Blues", vmin=0)
    axes.set_xticks(range(len(formats)), formats)
    axes.set_yticks(range(len(audiences)), audiences)
    for (i, j), n in np.ndenumerate(table):
        shade = "white" if n > table.max() / 2 else "black"
        axes.text(j, i, str(n), ha="center", va="center", color=shade)
    axes.set_title("accepted pieces")
    figure.savefig(place.out / "coverage.png", dpi=110, metadata={"Software": None})


STAGE = Stage(
    number=6,
    name="synthesize",
    version=2,
    needs=("apply-filter",),
    makes=("textbooks/*.parquet", "exercises/*.parquet", "rejects.parquet", "diversity.json",
           "coverage.png"),
    sees=(SynthesizeConfig, TeacherConfig, ValidationConfig),
    work=synthesize,
)  # fmt: skip
