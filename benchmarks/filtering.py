"""How fast the filter is, against datatrove's own read -> write with no filter at all (the floor).

    python -m benchmarks.filtering [--quick] [--json FILE]

The documents are this interpreter's library and its packages, cut into pieces of a few kilobytes
at blank lines; every piece is kept, so that everything read is written too. The forest is a real
one: 200 trees trained on labels of the stand-in's rubric. All contenders run in this process, after
a warm-up, in turn: start-up is not in the figures.
"""

from __future__ import annotations

import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measured import Row, arguments, medians, report
from classifiers.calibration import Calibration
from classifiers.embedding import WordEmbedding, pool
from classifiers.features import Features, dense_features
from classifiers.forest import TOP_SCORE, FilterForest, to_onnx
from classifiers.scorer import Forest, Scorer
from classifiers.structure import Structure
from classifiers.threshold import Decision
from pipeline.apply_filter import FilterShard
from pipeline.ingest import Unusable, read_text
from pipeline.records import DOCUMENT, make_doc_id, read_batches, write_table
from pipeline.standin_code import judge_code

PIECE_BYTES = 4_000
LABELS = 1_500


def main() -> None:
    """Build the corpus and the filter, then measure."""
    options = arguments(__doc__)
    wanted, rounds = (6_000, 3) if options.quick else (60_000, 3)
    with tempfile.TemporaryDirectory(prefix="primer-filtering-") as name:
        home = Path(name)
        corpus = home / "corpus.parquet"
        documents = write_table(corpus, _pieces(wanted), DOCUMENT)
        texts = pa.concat_arrays([batch["text"] for batch in read_batches([corpus], ["text"])])
        scorer, model, columns = _train(texts.slice(0, LABELS))
        scorer.save(home, {})
        rows = _measure_parts(scorer, model, columns, texts, rounds)
        rows += _measure_whole(home, corpus, documents, rounds)
    report(rows, options.json)


def _pieces(wanted: int) -> Iterator[dict[str, Any]]:
    """Documents of about PIECE_BYTES, spread over the files so that no package has them all."""
    paths = sysconfig.get_paths()
    files = sorted(Path(paths["stdlib"]).rglob("*.py")) + sorted(Path(paths["purelib"]).rglob("*"))
    files = [f for f in dict.fromkeys(files) if f.suffix in {".py", ".md", ".rst", ".txt"}]
    order = np.random.default_rng(4).permutation(len(files))
    made = 0
    for i in order:
        try:
            text = read_text(files[i], 1_000_000)
        except Unusable:
            continue
        piece = ""
        for part in text.split("\n\n"):
            piece += part + "\n\n"
            if len(piece) >= PIECE_BYTES:
                yield _document(piece, files[i], made)
                made, piece = made + 1, ""
                if made == wanted:
                    return


def _document(text: str, path: Path, number: int) -> dict[str, Any]:
    kind = "code" if path.suffix == ".py" else "web"
    address = f"{path.name}#{number}"
    return {
        "doc_id": make_doc_id("bench", address, text), "text": text, "kind": kind,
        "source": "bench", "group": path.parent.name, "url_or_path": address, "licence": None,
        "language": None, "origin": "human", "metadata": "{}",
    }  # fmt: skip


def _train(texts: pa.Array) -> tuple[Scorer, FilterForest, np.ndarray[Any, Any]]:
    """A scorer that keeps everything, and the forest with the columns it was trained on."""
    scores = np.array([sum(holds for holds, _ in judge_code(t)) for t in texts.to_pylist()])
    kinds = pa.array(["code"] * len(texts))
    embedding = WordEmbedding().fit(texts)
    x, bags = dense_features(embedding, texts, kinds), embedding.bags(texts)
    groups = np.array([str(i % 50) for i in range(len(texts))], object)
    model = FilterForest().fit(x, bags, scores, groups)
    table = np.column_stack([embedding.table_, model.lexical_])
    whole = (Calibration().fit(np.array([0.0, 1.0]), [0, 1]),
             Calibration(TOP_SCORE).fit(np.array([0.0, 5.0]), [0, 5]))  # fmt: skip
    scorer = Scorer(
        Forest.open(to_onnx(model.forest_)), Features(embedding.idf_, table),
        model.forest_.classes_, 3, whole, Decision("score", 0.0),
    )  # fmt: skip
    return scorer, model, model.columns(x, bags)


def _measure_parts(
    scorer: Scorer, model: FilterForest, columns: np.ndarray[Any, Any], texts: pa.Array,
    rounds: int,
) -> list[Row]:  # fmt: skip
    """The passes of scoring, each by itself, on one core."""
    megabytes = texts.nbytes / 1e6
    many = np.resize(columns, (8_192, columns.shape[1]))
    sample = texts.slice(0, 2_000)
    contenders = {
        "structure": lambda: Structure().transform(texts),
        "pool": lambda: pool(texts, scorer.features.idf, scorer.features.table),
        "onnx": lambda: scorer.forest.votes(many),
        "scikit-learn": lambda: model.forest_.predict_proba(many),
        "embedding": lambda: WordEmbedding().fit(sample),
    }
    for work in contenders.values():
        work()
    took = {name: seconds for name, (seconds, _) in medians(contenders, rounds).items()}
    trees = {"scikit-learn, one thread": len(many) / took["scikit-learn"]}
    return [
        Row("structural numbers", megabytes / took["structure"], "MB/s"),
        Row("words pooled over the embedding", megabytes / took["pool"], "MB/s"),
        Row("forest in ONNX Runtime, 200 trees", len(many) / took["onnx"], "rows/s", peers=trees),
        Row(f"embedding trained on {sample.nbytes / 1e6:.0f} MB", took["embedding"], "s"),
    ]


def _measure_whole(home: Path, corpus: Path, documents: int, rounds: int) -> list[Row]:
    """Read -> score -> write against read -> write."""
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.logging import logger

    logger.disable("datatrove")
    out, tallies = home / "out", home / "tallies"
    for folder in (out / "scores", out / "kept", tallies):
        folder.mkdir(parents=True, exist_ok=True)

    def ours() -> None:
        FilterShard(home, (corpus,), out, tallies)(0, 1)

    def floor() -> None:
        shutil.rmtree(home / "floor", ignore_errors=True)
        reader = ParquetReader(
            str(corpus.parent), glob_pattern=corpus.name, text_key="text", id_key="doc_id",
            doc_progress=False, file_progress=False,
        )  # fmt: skip
        writer = ParquetWriter(str(home / "floor"), compression="zstd")
        for _ in writer(reader(None, 0, 1), 0, 1):
            pass

    def arrow() -> None:
        with pq.ParquetWriter(home / "arrow.parquet", DOCUMENT, compression="zstd") as writer:
            for batch in read_batches([corpus]):
                writer.write_batch(batch)

    contenders = {"ours": ours, "floor": floor, "arrow": arrow}
    for work in contenders.values():
        work()
    took = medians(contenders, rounds)
    ratio = took["ours"][0] / took["floor"][0]
    peers = {"pyarrow read -> write, no filter": took["arrow"][0] / took["floor"][0]}
    return [
        Row("read, score, write: ratio to datatrove's read, write", ratio, "", peers=peers),
        Row("read, score, write", documents / took["ours"][0], "documents/s"),
        Row("spread of the three rounds", took["ours"][1], "of the median"),
    ]


if __name__ == "__main__":
    main()
