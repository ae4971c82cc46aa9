"""What a model is tuned on: chats from a handoff, or from JSON lines or Parquet of one's own.

A handoff brings its split, by the groups that its chats were written from. A small one may hold
none out; then, as with files of one's own, each chat is placed by a hash of its `id`, or of its
content where it has none, and `lineage.json` says `by chat`: two chats written from one file can
then stand on both sides, and the held-out loss is a little too good.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.handoff_record import open_handoff
from pipeline.manifest import hash_file, hash_json
from pipeline.records import read_rows
from pipeline.splits import place_of

_CHAT_CURE = 'each needs messages: [{"role": "user", "content": "..."}, {"role": "assistant", ...}]'


@dataclass(frozen=True)
class Conversations:
    """Chats to learn, chats held out, and what they came from."""

    train: list[list[dict[str, str]]]
    held_out: list[list[dict[str, str]]]
    source: dict[str, Any]


def read_conversations(stage: str, path: Path, held_out_share: float, seed: int) -> Conversations:
    """The chats of a handoff, a JSON lines or a Parquet file; InputError where a side is empty."""
    table, source = _find_table(stage, path)
    rows = [(row, _messages(stage, where, row)) for where, row in rows_of(stage, table)]
    is_split = any(row.get("split") == "validation" for row, _ in rows)
    train: list[list[dict[str, str]]] = []
    held_out: list[list[dict[str, str]]] = []
    for row, messages in rows:
        group = str(row.get("id") or hash_json(messages))
        late = (
            row.get("split") == "validation"
            if is_split
            else place_of(group, seed, "finetune") < held_out_share
        )
        (held_out if late else train).append(messages)
    for name, side in (("for training", train), ("held out", held_out)):
        if not side:
            raise InputError(
                stage, f"{path} has {len(rows)} chats, none of them {name}",
                "give more chats, or another held_out_share",
            )  # fmt: skip
    return Conversations(train, held_out, {**source, "split": "given" if is_split else "by chat"})


def rows_of(stage: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row stands, and the row, of JSON lines or Parquet."""
    if path.suffix == ".parquet":
        try:
            for number, row in enumerate(read_rows([path]), 1):
                yield f"{path} row {number}", row
        except (OSError, ValueError) as error:
            raise InputError(stage, f"{path} cannot be read ({error})", "give Parquet") from error
        return
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path} line {number}", _parse(stage, f"{path} line {number}", line)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            stage, f"{path} cannot be read ({error})", "give a handoff, JSON lines or Parquet"
        ) from error


def describe_data(path: Path) -> dict[str, Any]:
    """A file's name and the sha256 of its bytes."""
    return {"name": path.name, "sha256": hash_file(path)}


def _find_table(stage: str, path: Path) -> tuple[Path, dict[str, Any]]:
    """The file that holds the chats; of a handoff the one that it names, verified."""
    if not path.is_file():
        raise InputError(
            stage, f"{path} is no file", "give a handoff.json, or a file of JSON lines or Parquet"
        )
    if path.suffix != ".json":
        return path, describe_data(path)
    handoff = open_handoff(path)
    if handoff.finetuning is None:
        raise InputError(
            stage, f"{path} hands over no chats",
            "synthesize exercises or instructions in the run, or give JSON lines",
        )  # fmt: skip
    return path.parent / handoff.finetuning.path, {
        "name": f"{handoff.dataset}/{handoff.finetuning.path}",
        "sha256": handoff.finetuning.sha256,
    }


def _parse(stage: str, where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(stage, f"{where} is not JSON ({error})", "correct that line") from error
    if not isinstance(row, dict):
        raise InputError(stage, f"{where} is no JSON object", "correct that line")
    return row


def _messages(stage: str, where: str, row: dict[str, Any]) -> list[dict[str, str]]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InputError(stage, f"{where} has {', '.join(row) or 'nothing'}", _CHAT_CURE)
    for message in messages:
        texts = isinstance(message, dict) and [message.get("role"), message.get("content")]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(stage, f"{where} has the message {message!r:.80}", _CHAT_CURE)
    return [{"role": m["role"], "content": m["content"]} for m in messages]
