"""What the filter is measured against: datatrove with no filter, with fastText, with scikit-learn.

All keep every row and write Parquet with zstd, so that the work is the same to the last document.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import onnxruntime
import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.filters import FastTextClassifierFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.logging import logger

from classifiers.features import Features, Matrix
from pipeline.records import ROWS_PER_GROUP

logger.disable("datatrove")


def copy(source: Path, out: Path, *filters: BaseFilter, limit: int = -1) -> None:
    """datatrove's ParquetReader -> filters -> ParquetWriter, in this process."""
    shutil.rmtree(out, ignore_errors=True)
    documents = ParquetReader(
        str(source.parent), glob_pattern=source.name, text_key="text", id_key="doc_id",
        doc_progress=False, file_progress=False, limit=limit,
    )(None, 0, 1)  # fmt: skip
    for step in filters:
        documents = step(documents, 0, 1)
    for _ in ParquetWriter(str(out), compression="zstd")(documents, 0, 1):
        pass


class ForestFilter(BaseFilter):  # type: ignore[misc]  # datatrove has no types
    """The same features and forest in scikit-learn, as a filter that keeps everything."""

    def __init__(self, features: Features, forest: Any, batch_size: int = ROWS_PER_GROUP) -> None:
        super().__init__(batch_size=batch_size)
        self.features, self.forest = features, forest

    def filter(self, doc: Document) -> bool:
        """One document."""
        return self.filter_batch([doc])[0]

    def filter_batch(self, batch: list[Document]) -> list[bool]:
        """Up to `batch_size` documents."""
        texts = pa.array([doc.text for doc in batch], pa.large_string())
        kinds = pa.array([doc.metadata["kind"] for doc in batch])
        votes = self.forest.predict_proba(self.features.transform(texts, kinds))
        return [bool(keep) for keep in votes.sum(axis=1) > 0]


def onnx_votes(graph: bytes) -> Callable[[Matrix], Matrix]:
    """The exported forest in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda features: session.run(["probabilities"], {"features": features})[0]


def fasttext_filter(texts: pa.Array, positive: np.ndarray[Any, Any], home: Path) -> BaseFilter:
    """datatrove's filter with a fastText model of these labels (the way of DCLM), keeping all."""
    lines = home / "fasttext.txt"
    with lines.open("w", encoding="utf-8") as file:
        for text, label in zip(texts.to_pylist(), positive, strict=True):
            file.write(f"__label__{int(label)} {' '.join(text.split())}\n")
    # Bigrams in so many buckets, as the report's baseline has; otherwise fastText's own settings.
    model = fasttext.train_supervised(str(lines), wordNgrams=2, bucket=100_000, thread=1, verbose=0)
    model.save_model(str(home / "fasttext.bin"))
    labels = [("0", -1.0), ("1", -1.0)]
    return FastTextClassifierFilter(
        str(home / "fasttext.bin"), labels, save_labels_in_metadata=False, newline_replacement=" "
    )
