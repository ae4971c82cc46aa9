"""Reading, scoring and writing, against reading and writing alone, and against other filters.

    python -m benchmarks.filtering [--quick] [--json FILE]

The corpus is real text of this machine: the interpreter's library and its packages, in pieces of
about 4 kB, Parquet to Parquet, every row kept. The filter is a forest of 200 trees on the default
features. All contenders run in one process pinned to one core, after a warm-up, in turn: start-up
is not in the figures but has a row of its own. Scores of the compiled walk, of ONNX Runtime and of
scikit-learn are compared row by row before anything is timed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.filter_corpus import label, pieces, train
from benchmarks.filter_peers import ForestFilter, copy, fasttext_filter, onnx_votes
from benchmarks.filter_scaling import peak_mib, speed_up
from benchmarks.measured import Row, arguments, medians, report
from classifiers.embedding import WordEmbedding
from classifiers.forest import FilterForest, Matrix
from classifiers.scorer import Scorer
from classifiers.structure import Structure
from pipeline.filter_shard import FilterShard
from pipeline.records import DOCUMENT, read_batches, write_table

LABELS = 1_500
ALONE = 50  # documents given to scikit-learn one at a time; its time is scaled up
TOKENS_PER_BYTE = 1 / 4  # English and code, byte-level BPE of about 50,000 entries
TRILLION = 1e12


def main() -> None:
    """Build the corpus and the filter, then measure."""
    options = arguments(__doc__)
    wanted, rounds, copies = (5_000, 3, (3, 6)) if options.quick else (60_000, 3, (1, 17))
    with tempfile.TemporaryDirectory(prefix="primer-filtering-") as name:
        home = Path(name)
        corpus = home / "corpus.parquet"
        write_table(corpus, pieces(wanted), DOCUMENT)
        texts = pa.concat_arrays([batch["text"] for batch in read_batches([corpus], ["text"])])
        scores = label(texts[:LABELS])
        scorer, model = train(texts[:LABELS], scores)
        scorer.save(home, {})
        columns = scorer.features.transform(texts, pa.array(["code"] * len(texts)))
        rows = [_disagreement(scorer, model, columns[:10_000]), _start_up(home)]
        with _one_core():
            rows += _measure_parts(scorer, model, columns, texts, rounds)
            rows += _measure_whole(home, corpus, texts, scores, scorer, model, rounds)
        ratio = speed_up(home, corpus, home, rounds, 2 if options.quick else 1)
        rows.append(Row("two workers against one", ratio, "times as fast", 1.8, "min"))
        (few, low), (many, high) = (peak_mib(home, corpus, home, n) for n in copies)
        unit = f"of the peak at {few:,} documents ({low:,.0f} MiB)"
        rows.append(Row(f"peak memory at {many:,} documents", high / low, unit, 1.1))
    report(rows, options.json)


@contextmanager
def _one_core() -> Iterator[None]:
    """Threads of Arrow, BLAS or ONNX Runtime may not help anyone."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)


def _disagreement(scorer: Scorer, model: FilterForest, columns: Matrix) -> Row:
    """Documents that the three engines of one forest would not all keep, at its median score."""
    positive = model.forest_.classes_ >= scorer.positive_score_min
    ours = scorer.forest.walk.weigh(columns, positive[:, None].astype(float))[:, 0]
    others = [onnx_votes(scorer.forest.onnx)(columns), model.forest_.predict_proba(columns)]
    cut = np.nextafter(np.float32(np.median(ours)), np.float32(1))
    kept = [ours >= cut, *(votes[:, positive].sum(axis=1) >= cut for votes in others)]
    differ = int(np.sum(~np.all(kept, axis=0) & np.any(kept, axis=0)))
    unit = f"of {len(columns):,} documents, against ONNX Runtime and scikit-learn"
    return Row("decisions that differ", differ, unit, 0)


def _start_up(model: Path) -> Row:
    """Seconds of a new process until its first score."""
    script = (
        "import sys, pyarrow as pa; from classifiers.scorer import Scorer; "
        "Scorer.open(sys.argv[1]).score(pa.array(['a b']), pa.array(['web']))"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", script, str(model)], check=True)
    return Row("start-up of a worker", time.perf_counter() - began, "s")


def _measure_parts(
    scorer: Scorer, model: FilterForest, columns: Matrix, texts: pa.Array, rounds: int
) -> list[Row]:
    """The passes of scoring, each by itself, on one core."""
    megabytes, kinds = texts.nbytes / 1e6, pa.array(["code"] * len(texts))
    many, sample = columns[:8_192], texts.slice(0, 2_000)
    run_onnx = onnx_votes(scorer.forest.onnx)
    values = np.column_stack([np.ones(len(scorer.classes)), scorer.classes]).astype(float)
    took = _seconds_of(
        {
            "features": lambda: scorer.features.transform(texts, kinds),
            "structure": lambda: Structure().transform(texts),
            "walk": lambda: scorer.forest.walk.weigh(many, values),
            "onnx": lambda: run_onnx(many),
            "scikit-learn": lambda: model.forest_.predict_proba(many),
            "embedding": lambda: WordEmbedding().fit(sample),
        },
        rounds,
    )
    peers = {
        "ONNX Runtime": len(many) / took["onnx"],
        "scikit-learn": len(many) / took["scikit-learn"],
    }
    return [
        Row("all features", megabytes / took["features"], "MB/s"),
        Row("structural numbers alone", megabytes / took["structure"], "MB/s"),
        Row("forest, 200 trees", len(many) / took["walk"], "rows/s", peers=peers),
        Row(f"embedding trained on {sample.nbytes / 1e6:.0f} MB", took["embedding"], "s"),
    ]


def _measure_whole(
    home: Path, corpus: Path, texts: pa.Array, scores: npt.NDArray[np.int64], scorer: Scorer,
    model: FilterForest, rounds: int,
) -> list[Row]:  # fmt: skip
    """Read -> score -> write against read -> write, and against other filters between them."""
    out, documents = home / "out", len(texts)
    for folder in (out / "scores", out / "kept", home / "tallies"):
        folder.mkdir(parents=True, exist_ok=True)
    by_fasttext = fasttext_filter(texts[:LABELS], scores >= scorer.positive_score_min, home)
    shard = FilterShard(home, (corpus,), out, home / "tallies")
    batched = ForestFilter(scorer.features, model.forest_)
    alone = ForestFilter(scorer.features, model.forest_, batch_size=1)
    few = min(ALONE, documents)
    took = _seconds_of(
        {
            "ours": lambda: shard.filter_file(scorer, corpus, "00000"),
            "floor": lambda: copy(corpus, home / "floor"),
            "arrow": lambda: _copy_with_arrow(corpus, home / "arrow.parquet"),
            "fastText": lambda: copy(corpus, home / "fasttext", by_fasttext),
            "batched": lambda: copy(corpus, home / "batched", batched),
            "alone": lambda: copy(corpus, home / "alone", alone, limit=few),
        },
        rounds,
    )
    took["alone"] *= documents / few
    peers = {
        "pyarrow read -> write, no filter": took["arrow"],
        "datatrove's FastTextClassifierFilter": took["fastText"],
        "scikit-learn in batches in a datatrove filter": took["batched"],
        "scikit-learn document by document": took["alone"],
    }
    ratios = {name: seconds / took["floor"] for name, seconds in peers.items()}
    ratio = took["ours"] / took["floor"]
    tokens_per_core_h = texts.nbytes * TOKENS_PER_BYTE / took["ours"] * 3_600
    return [
        Row("read, score, write: ratio to datatrove's read, write", ratio, "", 0.7, peers=ratios),
        Row("datatrove's fastText filter over ours", took["fastText"] / took["ours"], "", 4, "min"),
        Row("read, score, write", documents / took["ours"], "documents/s"),
        Row("read, score, write", texts.nbytes / 1e6 / took["ours"], "MB/s"),
        Row("1 trillion tokens, projected", TRILLION / tokens_per_core_h, "core hours"),
        Row("15 trillion tokens, projected", 15 * TRILLION / tokens_per_core_h, "core hours"),
    ]


def _copy_with_arrow(source: Path, target: Path) -> None:
    with pq.ParquetWriter(target, DOCUMENT, compression="zstd") as writer:
        for batch in read_batches([source]):
            writer.write_batch(batch)


def _seconds_of(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median of each, run in turn after a warm-up."""
    for work in contenders.values():
        work()
    return {name: seconds for name, (seconds, _) in medians(contenders, rounds).items()}


if __name__ == "__main__":
    main()
