"""How long a page of the catalog takes with 1,000,000 documents behind it.

The run is made here: documents of log-normal lengths cut from a pool of words, in files of 100,000
with row groups as the stages write them; a score for each; 2,000 labels; 100,000 more documents
that cleaning dropped. A real server answers over loopback, one request at a time; every filtered
page asks for another range, so that nothing is remembered of it. The limit is a second for every
page, also for the first one of a new process. The processor's time, the client's included, is what
a page takes on a machine without neighbours.

    python -m benchmarks.catalog --quick
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measured import Row, arguments, report
from benchmarks.sealed_runs import seal
from pipeline.records import DOCUMENT, DROPPED, LABEL, ROWS_PER_GROUP, SCORE

DOCUMENTS, DROPPED_DOCUMENTS, LABELLED = 1_000_000, 100_000, 2_000
PER_FILE = 100_000
LIMIT_S = 1.0
SOURCES = ("web-crawl", "books", "stack", "stdlib")
WORDS = Path(__file__).parent.parent / "pipeline" / "words.txt"


def make_run(run: Path, documents: int, median_chars: int) -> list[str]:
    """Seal ingest, clean, label and apply-filter; returns some ids."""
    rng = np.random.default_rng(1)
    words = [word for word in WORDS.read_text().split() if word.isalpha()]
    pool = " ".join(rng.choice(words, 1_000_000))
    ingest, clean = run / "01-ingest", run / "02-clean"
    label, applied = run / "03-label", run / "05-apply-filter"
    for folder in (ingest / "documents", clean / "documents", label, applied / "scores"):
        folder.mkdir(parents=True)
    ids: list[str] = []
    for number, first in enumerate(range(0, documents, PER_FILE)):
        name = f"{number:05}.parquet"
        table = _documents(rng, pool, min(PER_FILE, documents - first), median_chars, first)
        _write(clean / "documents" / name, table)
        os.link(clean / "documents" / name, ingest / "documents" / name)
        _write(applied / "scores" / name, _scores(rng, table["doc_id"]))
        ids += table["doc_id"].slice(0, LABELLED).to_pylist()
    lost = _documents(rng, pool, documents // 10, 100, documents)
    _write(ingest / "documents" / "99999.parquet", lost)
    _write(clean / "dropped.parquet", _dropped(rng, lost))
    _write(label / "labels.parquet", _labels(rng, ids[:LABELLED]))
    all_in = documents + lost.num_rows
    seal(ingest, {"unit": "records", "rows_in": all_in, "kept": all_in})
    reasons = {"too_few_words": lost.num_rows // 2, "near_copy": lost.num_rows - lost.num_rows // 2}
    seal(clean, {"unit": "documents", "rows_in": all_in, "kept": documents, "dropped": reasons})
    held_out = {"ValidationConfig": {"share": 0.05, "max_bytes": 400_000}}
    seal(label, {"unit": "documents", "rows_in": LABELLED, "kept": LABELLED}, held_out)
    seal(applied, {"unit": "documents", "rows_in": documents, "kept": documents})
    return ids


def _documents(
    rng: np.random.Generator, pool: str, rows: int, median_chars: int, first: int
) -> pa.Table:
    lengths = np.minimum(rng.lognormal(np.log(median_chars), 0.9, rows), 50_000).astype(int)
    starts = rng.integers(0, len(pool) - 50_000, rows)
    source, code = rng.integers(0, len(SOURCES), rows), rng.random(rows) < 0.3
    return pa.table(
        {
            "doc_id": [rng.bytes(12).hex() for _ in range(rows)],
            "text": [pool[a : a + n] for a, n in zip(starts, lengths, strict=True)],
            "kind": np.where(code, "code", "web"),
            "source": np.array(SOURCES)[source],
            "group": [f"site-{n}" for n in rng.integers(0, 200_000, rows)],
            "url_or_path": [f"https://example.org/{first + i}" for i in range(rows)],
            "licence": pa.array(np.where(code, "MIT", "CC-BY-4.0"), mask=rng.random(rows) < 0.4),
            "language": np.where(code, "python", "en"),
            "origin": ["human"] * rows,
            "metadata": ["{}"] * rows,
        }
    ).cast(DOCUMENT)


def _scores(rng: np.random.Generator, ids: pa.ChunkedArray) -> pa.Table:
    scores = rng.beta(1, 3, len(ids)).astype(np.float32)
    return pa.table(
        {"doc_id": ids, "score": scores, "expected_score": scores * 5, "keep": scores > 0.4}
    ).cast(SCORE)


def _dropped(rng: np.random.Generator, lost: pa.Table) -> pa.Table:
    half = lost.num_rows // 2
    return pa.table(
        {
            "doc_id": lost["doc_id"],
            "reason": ["too_few_words"] * half + ["near_copy"] * (lost.num_rows - half),
            "evidence": ["17"] * lost.num_rows,
            "kind": lost["kind"],
            "bytes": rng.integers(1, 500, lost.num_rows),
            "tokens": rng.integers(1, 100, lost.num_rows),
        }
    ).cast(DROPPED)


def _labels(rng: np.random.Generator, ids: list[str]) -> pa.Table:
    rows = len(ids)
    return pa.table(
        {
            "doc_id": ids, "annotator": ["made here"] * rows, "rubric": ["none@1#0"] * rows,
            "score": rng.integers(0, 6, rows), "justification": ["Made for a measure."] * rows,
            "unlabelled_reason": pa.nulls(rows), "split": ["train"] * rows,
            "raw_answer": pa.nulls(rows),
        }
    ).cast(LABEL)  # fmt: skip


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=ROWS_PER_GROUP)


@contextmanager
def serving(runs: Path) -> Iterator[httpx.Client]:
    """A client of a catalog that serves these runs on loopback."""
    import uvicorn

    from catalog.app import make_app
    from catalog.settings import Settings

    server = uvicorn.Server(
        uvicorn.Config(make_app(Settings(runs=runs)), host="127.0.0.1", port=0, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def measure(client: httpx.Client, ids: list[str], rounds: int) -> list[Row]:
    """Seconds a page: of the first request at all, then median and 95th percentile."""
    address = "/runs/million/samples"
    began = time.process_time()
    rows = [Row("first page, of a new process", _open(client, address), "s", LIMIT_S)]
    took = time.process_time() - began
    rows.append(Row("first page, of a new process, processor's time", took, "s"))
    deep = "0.25~800000000000000000000000"  # the order is by score: past some 420,000 of them
    pages: dict[str, Callable[[int], str]] = {
        "first page": lambda i: address,
        "filtered page": lambda i: (
            f"{address}?source={SOURCES[i % 4]}&kind=web&decision=kept&least=0.{400 + i}"
        ),
        "deep page": lambda i: f"{address}?after={deep}",
        "page of what cleaning dropped": lambda i: f"{address}?reason=near_copy&address={i}",
        "page of words in texts": lambda i: f"{address}?text=quixotic+{i}",
        "one document": lambda i: f"{address}/{ids[i * 997 % len(ids)]}",
    }
    for name, page in pages.items():
        began = time.process_time()
        seconds = sorted(_open(client, page(i)) for i in range(rounds))
        processor = time.process_time() - began
        rows.append(Row(f"{name}, median", statistics.median(seconds), "s", LIMIT_S))
        rows.append(Row(f"{name}, processor's time", processor / rounds, "s"))
        worst = seconds[min(rounds - 1, round(0.95 * rounds))]
        rows.append(Row(f"{name}, 95th percentile", worst, "s", LIMIT_S))
    return rows


def _open(client: httpx.Client, address: str) -> float:
    began = time.perf_counter()
    answer: Any = client.get(address)
    seconds = time.perf_counter() - began
    answer.raise_for_status()
    return seconds


def main() -> None:
    """Make the run, serve it, open its pages."""
    given = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        ids = make_run(Path(folder) / "million", DOCUMENTS, 300 if given.quick else 1_300)
        with serving(Path(folder)) as client:
            rows = measure(client, ids, 5 if given.quick else 40)
    report(rows, given.json)


if __name__ == "__main__":
    main()
