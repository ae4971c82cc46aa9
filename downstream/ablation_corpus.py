"""What the ablation trains on and what it is measured on: the shared files, parted by repository.

Whole repositories are held out by name, so that no arm sees a line of them: of those that a person
would call teaching material, and, as a control, of ordinary ones. `dev` is what choices were made
on; `test` is what the final figures are of, and was not looked at before. What is left is written
for the recipe's sources to read, beside weak labels: the word of the repository for its rows.

    python -m downstream.ablation_corpus ../shared/data

What it costs: ten seconds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.records import make_doc_id

FOLDER = Path("runs/ablation-corpus")
FILES = {"prose": "web/prose.jsonl.gz", "code": "code/python_files.jsonl.gz"}

Part = Literal["dev", "test"]

TEACHING: dict[str, Part] = {
    "dabeaz-course/practical-python": "dev",
    "donnemartin/interactive-coding-challenges": "dev",
    "eriklindernoren/ML-From-Scratch": "dev",
    "trekhleb/learn-python": "dev",
    "cs231n/cs231n.github.io": "test",
    "karpathy/minGPT": "test",
    "keon/algorithms": "test",
    "norvig/pytudes": "test",
    "realpython/materials": "test",
    "swcarpentry/python-novice-inflammation": "test",
    "swcarpentry/shell-novice": "test",
}
CONTROL: dict[str, Part] = {
    "celery/celery": "dev",
    "docker/docker-py": "dev",
    "graphql-python/graphene": "dev",
    "dpkp/kafka-python": "test",
    "eslint/eslint": "test",
    "kivy/kivy": "test",
    "kubernetes/community": "test",
    "python-poetry/poetry": "test",
}
# what a repository or a kind of text says of its rows, as the scores 0 to 5 of the rubric
WEAK_SCORES = {
    "teaching": 5, "textbook": 5, "docs": 4, "encyclopedia": 2,
    "ordinary": 1, "ordinary-generated": 0, "web": 1, "forum": 1, "boilerplate": 0,
    "changelog": 0, "licence": 0, "linklist": 0, "log": 0,
}  # fmt: skip
# Benchmarks as text: the question and the answer that is right, in the order of a reader.
BENCHMARKS = {
    "HumanEval": ("HumanEval.jsonl.gz", "code", "{prompt}{canonical_solution}"),
    "MBPP": ("mbpp.jsonl.gz", "code", '"""{text}"""\n{code}\n'),
    "GSM8K": ("gsm8k_test.jsonl.gz", "prose", "{question}\n{answer}\n"),
}

_MARKS = re.compile(r"<<[^<>\n]*>>(?=\d|[-.])|\n####.*")  # GSM8K's, for calculators and graders


def main() -> None:
    """Write the corpus and what is held out of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="The folder of shared data.")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    try:
        for name, rows in write_corpus(given.data, given.out).items():
            print(f"{given.out / name}: {rows} rows")
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def write_corpus(data: Path, out: Path) -> dict[str, int]:
    """Part the shared files below `data`; the rows of each file that was written."""
    written: dict[str, list[dict[str, Any]]] = {}
    weak: list[tuple[str, int]] = []
    for kind, file in FILES.items():
        rest: list[dict[str, Any]] = []
        for row in _rows(data / file):
            part = TEACHING.get(row["repo"]) or CONTROL.get(row["repo"])
            if part is not None:
                side = "teaching" if row["repo"] in TEACHING else "control"
                written.setdefault(f"{part}.jsonl.gz", []).append(_held_out(row, kind, side))
            else:
                said = row["kind"] if kind == "prose" else row["nature"]
                rest.append(row | {"weak": said})
                if said in WEAK_SCORES:
                    address = f"{kind}.jsonl.gz:{len(rest)}"
                    weak.append((make_doc_id(kind, address, row["text"]), WEAK_SCORES[said]))
        written[f"{kind}.jsonl.gz"] = rest
    for name, (file, kind, form) in BENCHMARKS.items():
        for i, row in enumerate(_rows(data / "benchmarks" / file)):
            text = _MARKS.sub("", form.format(**row)).replace("\r\n", "\n")
            item = {"repo": name, "path": str(i), "text": text}
            written["test.jsonl.gz"].append(_held_out(item, kind, "benchmark"))
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in written.items():
        _write(out / name, rows)
    with (out / "weak_labels.csv").open("w", newline="") as labels:
        csv.writer(labels).writerows([("doc_id", "human_score"), *weak])
    return {name: len(rows) for name, rows in sorted(written.items())}


def _held_out(row: dict[str, Any], kind: str, side: str) -> dict[str, Any]:
    name = hashlib.sha256(f"{row['repo']}\x00{row['path']}\x00{row['text']}".encode())
    return {
        "doc_id": name.hexdigest()[:16], "text": row["text"], "group": row["repo"], "kind": kind,
        "side": side,
    }  # fmt: skip


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from (json.loads(line) for line in file)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            "ablation", f"{path} cannot be read ({error})", "give the folder of shared data"
        ) from error


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON line a row, in bytes that do not change from one day to the next."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode(), compresslevel=6, mtime=0))


if __name__ == "__main__":
    main()
