"""Benchmark files as rows of the form that lm-eval's own task definitions read.

Those definitions are written for the datasets of the Hugging Face hub. A file from the hub (JSON
lines or CSV, plain or .gz, or Parquet) passes as it is; the files that mosaicml/llm-foundry ships
(`query`, `choices`, `gold`), TruthfulQA's CSV and MMLU-Redux are turned into it, row by row, so
that prompts are lm-eval's and not ours. docs/quality.md says what the turned files lack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.benchmark_file import UNREADABLE, rows_of
from pipeline.errors import InputError

Row = dict[str, Any]

_LETTERS = "ABCDEFGHIJ"
_LISTED = re.compile(
    r"(?s)(?:Context: (?P<context>.*?)\n)?Question: (?P<question>.*?)\n"
    r"Choices:\n(?P<listed>.*?)\nAnswer:"
)
_PASSAGE = re.compile(r"(?s)Passage: (?P<passage>.*)\nQuestion: (?P<question>.*?)\??\s*\Z")
_CAUSE = re.compile(r"(?s)(?P<premise>.*?),? (?P<connector>because|therefore)\s*\Z")


def read_benchmark(
    path: Path, fields: Sequence[str], turn: Callable[[Row], Row | None] | None
) -> list[Row]:
    """The rows in the hub's form, each with its number in the file as `item`.

    `turn` brings a row into the form, whose `fields` are then checked; it returns None for one that
    is no item. Raises InputError where the file cannot be read, or a row is not of the task.
    """
    rows: list[Row] = []
    try:
        for number, row in enumerate(rows_of(path)):
            turned = _turned(path, number, row, fields, turn)
            if turned is not None:
                rows.append({**turned, "item": number})
    except UNREADABLE as error:
        raise InputError(
            "evaluate", f"benchmark {path} cannot be read ({error})", "correct tasks.tasks"
        ) from error
    if not rows:
        raise InputError("evaluate", f"benchmark {path} has no rows", "give a file with rows")
    return rows


def _turned(
    path: Path, number: int, row: Row, fields: Sequence[str],
    turn: Callable[[Row], Row | None] | None,
) -> Row | None:  # fmt: skip
    try:
        turned = row if turn is None else turn(row)
        missing = [] if turned is None else [name for name in fields if name not in turned]
        if missing:
            raise KeyError(*missing)
    except (KeyError, AttributeError, ValueError, IndexError, TypeError) as error:
        raise InputError(
            "evaluate", f"{path}, row {number + 1} is not of this task ({error!r})",
            f"its fields are {sorted(map(str, row))}; see docs/quality.md",
        ) from error  # fmt: skip
    return turned


def lettered(row: Row) -> Row:
    """ARC and CommonsenseQA: `choices` of text and label, `answerKey`."""
    if "query" not in row:
        return row
    found = _LISTED.match(row["query"])
    question = found["question"] if found else row["query"].removeprefix("Question: ")
    texts = _listed(found["listed"]) if found else row["choices"]
    letters = list(_LETTERS[: len(texts)])
    return {
        "question": question,
        "choices": {"text": texts, "label": letters},
        "answerKey": letters[row["gold"]],
    }


def openbookqa(row: Row) -> Row:
    """As ARC, with the question called a stem."""
    if "query" not in row:
        return row
    turned = lettered(row)
    return {"question_stem": turned.pop("question"), **turned}


def hellaswag(row: Row) -> Row:
    """What lm-eval's `process_docs` makes of a hub row: the file is past that already."""
    if "query" not in row:
        return row
    return {"query": row["query"], "choices": row["choices"], "label": str(row["gold"])}


def piqa(row: Row) -> Row:
    """A goal and two solutions."""
    if "query" not in row:
        return row
    goal = row["query"].removeprefix("Question: ").removesuffix("\n")
    first, second = row["choices"]
    return {"goal": goal, "sol1": first, "sol2": second, "label": row["gold"]}


def boolq(row: Row) -> Row:
    """A passage and a question without its mark."""
    if "query" not in row:
        return row
    found = _match(_PASSAGE, row["query"])
    return {**found, "label": row["gold"]}


def winogrande(row: Row) -> Row:
    """A sentence with a gap and two options for it, which are words as far as they differ."""
    if "context_options" not in row:
        return row
    first, second = row["context_options"]
    alike = 0
    while alike < min(len(first), len(second)) and first[alike] == second[alike]:
        alike += 1
    begin = first.rfind(" ", 0, alike) + 1
    return {
        "sentence": f"{first[:begin]}_ {row['continuation']}",
        "option1": first[begin:],
        "option2": second[begin:],
        "answer": str(row["gold"] + 1),
    }


def siqa(row: Row) -> Row:
    """A context, a question and its answers; llm-foundry's file keeps two of the three."""
    if "query" not in row:
        return row
    found = _match(_LISTED, row["query"])
    answers = [*_listed(found["listed"]), None, None]
    named = {f"answer{letter}": answers[i] for i, letter in enumerate("ABC")}
    return {
        "context": found["context"], "question": found["question"], **named,
        "label": str(row["gold"] + 1),
    }  # fmt: skip


def copa(row: Row) -> Row:
    """A premise, whether its cause or its effect is asked for, and two choices."""
    if "query" not in row:
        return row
    found = _match(_CAUSE, row["query"])
    first, second = row["choices"]
    return {
        "premise": found["premise"] + ".",
        "question": "cause" if found["connector"] == "because" else "effect",
        "choice1": first,
        "choice2": second,
        "label": row["gold"],
    }


def mmlu(row: Row) -> Row:
    """Choices as a list and the answer as a number; MMLU-Redux ships both as text."""
    import ast

    choices = row["choices"]
    turned = list(ast.literal_eval(choices) if isinstance(choices, str) else choices)
    answer = int(row["answer"])
    if len(turned) != 4 or not 0 <= answer < 4:
        raise ValueError(f"{len(turned)} choices, answer {answer}")
    return {
        "question": row["question"],
        "choices": turned,
        "answer": answer,
        "subject": row["subject"],
    }


def mmlu_redux(row: Row) -> Row | None:
    """Only the questions that MMLU-Redux's readers found no error in (arXiv 2406.04127)."""
    return mmlu(row) if row["error_type"] == "ok" else None


def truthfulqa(row: Row) -> Row:
    """The right answers first, then the wrong ones: MC1 of the best answer, MC2 of all."""
    if "Question" not in row:
        return row
    wrong = _answers(row["Incorrect Answers"])
    best, right = row["Best Answer"].strip(), _answers(row["Correct Answers"])
    return {
        "question": row["Question"].strip(),
        "mc1_targets": _targets([best], wrong),
        "mc2_targets": _targets(right, wrong),
    }


def _targets(right: list[str], wrong: list[str]) -> Row:
    return {"choices": [*right, *wrong], "labels": [1] * len(right) + [0] * len(wrong)}


def _answers(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _listed(text: str) -> list[str]:
    return [re.sub(r"^[A-Z]\. ", "", line) for line in re.split(r"\n(?=[A-Z]\. )", text)]


def _match(pattern: re.Pattern[str], text: str) -> Row:
    found = pattern.match(text)
    if found is None:
        raise ValueError(f"unexpected query {text[:60]!r}")
    return found.groupdict()
