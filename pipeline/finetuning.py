"""What a model is fine-tuned on after training: exercises and instruction pairs, as chats.

They are the accepted ones of the arm with synthetic text, so decontaminated, and none of them rests
on a group that is held out. The second step of phi-1 (arXiv 2306.11644, section 2.3) is such a
fine-tuning on exercises. Whole groups go to `train` or `validation`, by a hash of their names; with
few groups `validation` may have none, and where it would have all, all are `train`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.parsing import parse
from pipeline.records import read_rows, write_table
from pipeline.splits import ValidationConfig, in_validation, place_of
from pipeline.stage import Sealed

FINETUNING = "finetuning.parquet"
CHAT = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # "train" or "validation", by group
        pa.field("origin_kind", pa.string(), nullable=False),  # "exercise" or "instruction"
        pa.field(
            "messages",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
            nullable=False,
        ),
    ]
)
_ASKED = "Complete this function."
_FENCES = re.compile(r"`{3,}")
_GAP = "\n\n\n"  # between the solution and the tests of an exercise


def write_finetuning(
    arms: Sealed, folder: Path, seed: int, held_out: ValidationConfig
) -> dict[str, int] | None:
    """Write the chats, if there are any; how many there are by split and kind."""
    rows = sorted(_chats(arms, seed, held_out), key=lambda row: row["doc_id"])
    if not rows:
        return None
    if all(row["split"] == "validation" for row in rows):  # else there is nothing to learn
        rows = [row | {"split": "train"} for row in rows]
    write_table(folder / FINETUNING, rows, CHAT)
    counts = Counter(f"{row['split']}_{row['origin_kind']}" for row in rows)
    return dict(sorted(counts.items()))


def _chats(arms: Sealed, seed: int, held_out: ValidationConfig) -> Iterator[dict[str, Any]]:
    columns = ["doc_id", "text", "group", "origin", "metadata"]
    for row in read_rows(arms.files("arms/kept+synthetic/*.parquet"), columns):
        if row["origin"] != "synthetic" or in_validation(row["group"], seed, held_out):
            continue
        metadata = json.loads(row["metadata"])
        match metadata.get("task"):
            case "exercise":
                messages = exercise_chat(metadata["prompt"], row["text"])
            case "instruction":
                messages = metadata["messages"]
            case _:
                continue
        late = place_of(row["group"], seed, "finetuning") < held_out.share
        yield {
            "doc_id": row["doc_id"], "split": "validation" if late else "train",
            "origin_kind": metadata["task"], "messages": messages,
        }  # fmt: skip


def exercise_chat(prompt: str, text: str) -> list[dict[str, str]]:
    """A person gives the signature and docstring, the answer is the whole function."""
    return [
        {"role": "user", "content": f"{_ASKED}\n\n{_fenced(prompt)}"},
        {"role": "assistant", "content": _fenced(_solution(prompt, text))},
    ]


def _solution(prompt: str, text: str) -> str:
    """The text before the tests: up to the first gap after the function that is asked for."""
    names = re.findall(r"^(?:async )?def (\w+)", prompt, re.M)
    asked = names and re.search(rf"^(?:async )?def {names[-1]}\b", text, re.M)
    at = asked.end() if asked else 0
    while (at := text.find(_GAP, at)) >= 0:
        try:
            parse(text[:at])
        except (SyntaxError, ValueError):  # the gap stands in a string
            at += 1
        else:
            return text[:at]
    return text.rstrip()


def _fenced(code: str) -> str:
    fence = "`" * max([3, *(len(run) + 1 for run in _FENCES.findall(code))])
    return f"{fence}python\n{code.strip()}\n{fence}"
