"""Real documents with weak labels for the filter's tests: teaching repositories or ordinary."""

import gzip
import json
from functools import cache

import numpy as np
import pytest

from conftest import SHARED_DATA, Bench, document
from pipeline import clean
from pipeline.records import DOCUMENT, LABEL, write_table
from pipeline.splits import place_of

FILES = SHARED_DATA / "code" / "python_files.jsonl.gz"
SCORE_OF = {"teaching": 4, "ordinary": 1, "ordinary-generated": 0}


@cache
def corpus(count=700):
    """(document, nature) of some real files, the same each time."""
    if not FILES.exists():
        pytest.skip(f"{FILES} is absent: the shared test data is not beside the repository")
    with gzip.open(FILES, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    return [
        (document(rows[i]["text"], rows[i]["path"], group=rows[i]["repo"]), rows[i]["nature"])
        for i in sorted(chosen)
    ]


def label(row, score, split=None, **fields):
    place = place_of(row["group"], 7, "test")
    return {
        "doc_id": row["doc_id"], "annotator": "rules of a stand-in", "rubric": "r@1#0",
        "score": score, "justification": "because", "unlabelled_reason": None,
        "split": split or ("test" if place < 0.3 else "train"), "raw_answer": None, **fields,
    }  # fmt: skip


def labels(count=500):
    return [label(row, SCORE_OF[nature]) for row, nature in corpus()[:count]]


def put(bench, rows=None, given=None, files=3):
    """Seal documents and labels before the filter's stages."""
    rows = [row for row, _ in corpus()] if rows is None else rows

    def write_documents(out):
        for i in range(files):
            write_table(out / "documents" / f"{i:05}.parquet", rows[i::files], DOCUMENT)

    bench.put(2, "clean", write_documents)
    bench.put(
        3, "label", lambda out: write_table(out / "labels.parquet", given or labels(), LABEL),
        {"annotator_is_llm": False},
    )  # fmt: skip


def clean_with(run, executor):
    """What cleaning seals of real files and copies of some, as one hash."""
    rows = [row for row, _ in corpus()]
    bench = Bench(run)
    bench.put_documents(1, "ingest", [*rows, *rows[:20]])
    made = bench.make(clean.STAGE, clean.CleanConfig(workers=2, executor=executor))
    assert made.ledger.dropped["exact_copy"] >= 20
    return made.manifest.outputs_sha256
