"""The corpus and the filter that `benchmarks.filtering` measures with, made of this machine's own
Python library: pieces of its files, and a forest trained on labels of the stand-in's rubric.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from classifiers.calibration import Calibration
from classifiers.embedding import WordEmbedding
from classifiers.features import Features, dense_features
from classifiers.forest import FilterForest, to_onnx
from classifiers.scorer import Forest, Scorer
from classifiers.threshold import Decision
from classifiers.votes import TOP_SCORE
from pipeline.read_record import Unusable
from pipeline.read_text import read_text
from pipeline.records import make_doc_id
from pipeline.standin_code import judge_code

PIECE_BYTES = 4_000
KEEP_ALL = Decision("score", 0.0)


def pieces(wanted: int) -> Iterator[dict[str, Any]]:
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


def label(texts: pa.Array) -> npt.NDArray[np.int64]:
    """The stand-in's score of each."""
    return np.array([sum(holds for holds, _ in judge_code(t)) for t in texts.to_pylist()])


def train(texts: pa.Array, scores: npt.NDArray[np.int64]) -> tuple[Scorer, FilterForest]:
    """A scorer that keeps everything, and the forest from which it was exported."""
    kinds = pa.array(["code"] * len(texts))
    embedding = WordEmbedding().fit(texts)
    x, bags = dense_features(embedding, texts, kinds), embedding.bags(texts)
    groups = np.array([str(i % 50) for i in range(len(texts))], object)
    model = FilterForest().fit(x, bags, scores, groups)
    table: npt.NDArray[np.float32] = np.column_stack([embedding.table_, model.lexical_])
    whole = (Calibration().fit(np.array([0.0, 1.0]), [0, 1]),
             Calibration(TOP_SCORE).fit(np.array([0.0, 5.0]), [0, 5]))  # fmt: skip
    scorer = Scorer(
        Forest.open(to_onnx(model.forest_)), Features(embedding.idf_, table),
        model.forest_.classes_, 3, whole, KEEP_ALL,
    )  # fmt: skip
    return scorer, model
