"""`primer score`: JSON lines in, a score for each out, in order, as fast as they come.

Whatever has come is scored when the input pauses, and at the latest with every few megabytes, so
a person at a pipe gets an answer at once, and a long file is scored in large batches. A line that
cannot be scored gives its error in its place. The scores are those that stage 5 gives the text.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pyarrow as pa

from pipeline.document_batch import KINDS, MAX_DOCUMENT_BYTES
from pipeline.filter_model import open_model
from pipeline.json_lines import BadLine, parse_line, split_lines, text_of, whole_lines
from pipeline.records import ROWS_PER_GROUP

_READ_BYTES = 1 << 18
_BATCH_BYTES = 4 << 20
_PAUSE_S = 0.02  # a longer wait for the next bytes is a pause


def score_stream(model: Path, source: int, sink: int) -> int:
    """Score the lines of one file descriptor onto another; how many could not be scored."""
    scorer = open_model("score", model)
    failed = 0
    for block in whole_lines(_as_it_comes(source), MAX_DOCUMENT_BYTES):
        lines = [line for line in split_lines(block).to_pylist() if line.strip()]
        for i in range(0, len(lines), ROWS_PER_GROUP):
            answers = _score(scorer, lines[i : i + ROWS_PER_GROUP])
            failed += sum("error" in answer for answer in answers)
            made = b"".join(orjson.dumps(a, option=orjson.OPT_APPEND_NEWLINE) for a in answers)
            _write(sink, made)
    return failed


def _as_it_comes(source: int) -> Iterator[bytes]:
    """What can be read without a pause, up to a batch."""
    while first := os.read(source, _READ_BYTES):
        parts, size = [first], len(first)
        while size < _BATCH_BYTES and select.select([source], [], [], _PAUSE_S)[0]:
            part = os.read(source, _READ_BYTES)
            if not part:
                break
            parts.append(part)
            size += len(part)
        yield b"".join(parts)


def _score(scorer: Any, lines: list[bytes]) -> list[dict[str, Any]]:
    """An answer for each line, in order."""
    answers: list[dict[str, Any]] = []
    texts: list[str] = []
    kinds: list[str] = []
    scored: list[dict[str, Any]] = []
    for line in lines:
        answer: dict[str, Any] = {"id": None}
        answers.append(answer)
        try:
            document = _parse(line, answer)
        except BadLine as verdict:
            answer["error"] = f"{verdict.reason}: {verdict.evidence}"
            continue
        texts.append(document["text"])
        kinds.append(document["kind"])
        scored.append(answer)
    columns = scorer.score(pa.array(texts, pa.large_string()), pa.array(kinds, pa.string()))
    for answer, *values in zip(scored, *(column.tolist() for column in columns), strict=True):
        answer.update(zip(("score", "expected_score", "keep"), values, strict=True))
    return answers


def _parse(line: bytes, answer: dict[str, Any]) -> dict[str, Any]:
    if len(line) - 1 > MAX_DOCUMENT_BYTES:
        raise BadLine("too_large", f"a line of over {MAX_DOCUMENT_BYTES} bytes")
    document = parse_line(line)
    answer["id"] = document.get("id")
    text_of(document, "text")
    kind = document.get("kind")
    document["kind"] = "web" if kind is None else kind
    if document["kind"] not in KINDS:
        raise BadLine("unknown_kind", f"{kind!r} is neither web nor code")
    return document


def _write(sink: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(sink, view) :]


def score_standard_input(model: Path) -> None:
    """Standard input to standard output; exits with 1 where a line could not be scored."""
    try:
        failed = score_stream(model, sys.stdin.fileno(), sys.stdout.fileno())
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if failed:
        click.echo(f"primer: score: {failed:,} lines could not be scored", err=True)
        raise click.exceptions.Exit(1)
