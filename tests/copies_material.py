"""A small corpus with planted copies, and the passes that find them, for the tests of copies."""

import numpy as np
import pyarrow as pa

from pipeline.copies import CopiesConfig, find_copies
from pipeline.copies_runs import SketchShard
from pipeline.records import write_table
from pipeline.shards import run_shards
from pipeline.stage import Workplace

ROW = pa.schema([("doc_id", pa.string()), ("text", pa.string()), ("score", pa.float64())])
WORDS = 120


def page(seed, words=WORDS):
    """Words that no other seed gives."""
    generator = np.random.default_rng(seed)
    return [f"w{n}" for n in generator.integers(0, 1 << 40, words)]


def changed(words, count, seed=0):
    """A copy with `count` single words changed: each spoils five of its shingles."""
    places = 2 + 6 * np.random.default_rng(seed).permutation(len(words) // 6 - 1)[:count]
    copy = list(words)
    for place in places:
        copy[place] = f"x{seed}"
    return copy


def corpus(pages=150, seed=1):
    """Rows in source order: pages, with exact copies (e) and near ones (n) some way after them."""
    rows = []
    for number in range(pages):
        rows.append((f"p{number}", " ".join(page(seed * 1_000_000 + number))))
        if number % 10 == 7:
            rows.append((f"e{number - 5}", rows_text(rows, f"p{number - 5}").upper() + "!"))
        if number % 15 == 11:
            near = changed(rows_text(rows, f"p{number - 9}").split(), 2, number)
            rows.append((f"n{number - 9}", " ".join(near)))
    return [{"doc_id": i, "text": t, "score": float(len(t) % 7)} for i, t in rows]


def rows_text(rows, doc_id):
    return dict(rows)[doc_id]


def sketched(home, rows, shards, workers=1, executor=None, score=None):
    """A workplace, and the runs of a pass 1 over the rows cut to so many files."""
    place = Workplace("clean", home / "out", home, 0, {}, {})
    cuts = np.linspace(0, len(rows), shards + 1).astype(int)
    files = []
    for k in range(shards):
        files.append(home / "documents" / f"{k:05}.parquet")
        write_table(files[-1], rows[cuts[k] : cuts[k + 1]], ROW)
    work = SketchShard(tuple(files), home / "sketches", score)
    engine = () if executor is None else (executor,)
    run_shards(place, "sketches", work, "documents", shards, workers, *engine)
    return place, home / "sketches"


def copies_of(home, rows, shards=1, workers=1, executor=None, score=None, **config):
    """The evidence rows of a whole corpus."""
    place, sketches = sketched(home, rows, shards, workers, executor, score)
    settings = CopiesConfig(**config)
    engine = () if executor is None else (executor,)
    found = find_copies(place, sketches, settings, workers, *engine)
    return [row for batch in found.batches() for row in batch.to_pylist()]
