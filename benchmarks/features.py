"""What each family of features brings, on weak labels of real repositories and pages.

    python -m benchmarks.features [--quick] [--json FILE]

Code: is the file from a repository that teaches? Prose: is the page a chapter of a textbook? Split
by repository, five times over, so that nothing of a repository is on both sides; the figure is the
mean PR-AUC of the held-out parts. The labels are about the source, not about the row: they rank
features, they do not say how good a document is. The data is no part of the project; without it
this says so and measures nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score

from benchmarks.measured import Row, arguments, report
from classifiers.baselines import fasttext_baseline, length_baseline, linear_baseline
from classifiers.embedding import WordEmbedding
from classifiers.forest import FilterForest, lexical_weights, split_by_group
from classifiers.structure import Structure

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = {
    "code": ("code/python_files.jsonl.gz", lambda row: row["nature"] == "teaching"),
    "prose": ("web/prose.jsonl.gz", lambda row: row["kind"] == "textbook"),
}
Bools = npt.NDArray[np.bool_]


def main() -> None:
    """Measure both sets."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"features: there is no {DATA}; give it the weakly labelled data")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="primer-features-") as scratch:
        for name, (file, is_positive) in SETS.items():
            with gzip.open(DATA / file, "rt", encoding="utf-8") as lines:
                records = [json.loads(line) for line in lines]
            if options.quick:
                records = records[::4]
            positive = np.array([is_positive(r) for r in records])
            groups = np.array([r["repo"] for r in records], object)
            texts = pa.array([r["text"] for r in records], pa.large_string())
            rows += _measure(name, texts, positive, groups, Path(scratch))
    report(rows, options.json)


def _measure(
    name: str, texts: pa.Array, positive: Bools, groups: npt.NDArray[np.object_], scratch: Path
) -> list[Row]:
    areas: dict[str, list[float]] = {}
    for train, held in split_by_group(positive, groups, 5, 0):
        scores = _judge(texts, positive, groups, train, held, scratch)
        for way, score in scores.items():
            if score is not None:
                area = float(average_precision_score(positive[held], score))
                areas.setdefault(way, []).append(area)
    found = {way: float(np.mean(values)) for way, values in areas.items()}
    best = found.pop("forest, all")
    unit = f"PR-AUC on {len(positive)} documents"
    return [Row(f"{name}: forest, all features", best, unit, peers=found)]


def _judge(
    texts: pa.Array, positive: Bools, groups: npt.NDArray[np.object_],
    train: npt.NDArray[np.int64], held: npt.NDArray[np.int64], scratch: Path,
) -> dict[str, Any]:  # fmt: skip
    """The held-out scores of every way, trained on the other repositories."""
    ours, others = texts.take(pa.array(train)), texts.take(pa.array(held))
    embedding = WordEmbedding().fit(ours)
    structure, axes = Structure().transform(texts), embedding.transform(texts)
    bags, sizes = embedding.bags(texts), np.log1p(pc.binary_length(texts).to_numpy())
    labels = np.where(positive, 5, 0)

    def forest(columns: npt.NDArray[np.float32]) -> Any:
        model = RandomForestClassifier(
            200, max_depth=20, min_samples_leaf=3, class_weight="balanced", random_state=0, n_jobs=2
        )
        return model.fit(columns[train], positive[train]).predict_proba(columns[held])[:, 1]

    whole = np.column_stack([structure, axes])
    model = FilterForest().fit(whole[train], bags[train], labels[train], groups[train])
    return {
        "forest, all": model.predict(whole[held], bags[held])[:, 0],
        "forest without the linear score": forest(whole),
        "forest on structure alone": forest(structure),
        "forest on the embedding alone": forest(axes),
        "linear on all words": bags[held] @ lexical_weights(bags[train], positive[train]),
        "logistic regression on the embedding": linear_baseline(
            axes[train], positive[train], axes[held]
        ),
        "fastText supervised": fasttext_baseline(ours, positive[train], others, scratch),
        "length alone": length_baseline(sizes[train], positive[train], sizes[held]),
        "base rate": np.zeros(len(held)),
    }


if __name__ == "__main__":
    main()
