"""What tuning, the ways of calibration and the learning curve's forecast bring, on held-out groups.

    python -m benchmarks.filter_training [--quick] [--json FILE]

The weakly labelled files and pages of `benchmarks.features`, parted by repository again and again:
a third is held out, and 1,200 labels are drawn from the rest, as a recipe's sample would be. The
forecast is made from 300 of them, for twice and four times as many, and held against a forest of
the same size that really learned from so many. About 7 minutes on two cores.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.base import clone
from sklearn.metrics import average_precision_score

from benchmarks.features import DATA, SETS
from benchmarks.measured import Row, arguments, report
from classifiers.calibration import WAYS, Calibration, compare_ways
from classifiers.embedding import WordEmbedding
from classifiers.features import dense_features
from classifiers.forest import FilterForest, judge_folds, make_folds, split_by_group
from classifiers.learning_curve import MOST_TREES, learn_on_less, learning_curve
from classifiers.tuning import CHOICES, tune

LABELS, FEW_LABELS = 1_200, 300
PARTINGS = 8
Found = dict[str, list[float]]


def main() -> None:
    """Measure both sets."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"filter_training: there is no {DATA}; give it the weakly labelled data")
    rows: list[Row] = []
    for name, (file, is_positive) in SETS.items():
        with gzip.open(DATA / file, "rt", encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
        labels = np.where([is_positive(r) for r in records], 5, 0)
        groups = np.array([r["repo"] for r in records], object)
        texts = pa.array([r["text"] for r in records], pa.large_string())
        found: Found = defaultdict(list)
        for seed in range(1 if options.quick else PARTINGS):
            _part(texts, labels, groups, "code" if name == "code" else "web", seed, found)
        rows += [Row(f"{name}: {what}", *_told(what, values)) for what, values in found.items()]
    report(rows, options.json)


def _told(what: str, values: list[float]) -> tuple[float, str]:
    """The mean, and its standard error over the partings in the unit's place."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    unit = "share of partings" if what.endswith("?") else f"+- {error:.4f}, {len(values)} partings"
    return float(np.mean(values)), unit


def _part(
    texts: pa.Array, labels: npt.NDArray[np.int64], groups: npt.NDArray[np.object_],
    kind: str, seed: int, found: Found,
) -> None:  # fmt: skip
    """One parting: learn from 1,200 labels, judge the held-out third."""
    rest, held = split_by_group(labels >= 3, groups, 3, seed)[0]
    rng = np.random.default_rng(seed)
    train = np.sort(rng.choice(rest, min(LABELS, len(rest)), replace=False))
    ours, others = texts.take(pa.array(train)), texts.take(pa.array(held))
    embedding = WordEmbedding().fit(ours)
    x, held_x = (dense_features(embedding, t, pa.array([kind] * len(t))) for t in (ours, others))
    bags, held_bags = embedding.bags(ours), embedding.bags(others)
    y, positive = labels[train], labels[held] >= 3
    names = groups[train]
    model = FilterForest(seed=seed)
    folds = make_folds(model, x, bags, y, names)

    def area(forest: FilterForest) -> tuple[float, npt.NDArray[np.float64]]:
        score = forest.fit(x, bags, y, names).predict(held_x, held_bags)[:, 0]
        return float(average_precision_score(positive, score)), score

    plain, score = area(clone(model))
    tuned = tune(model, folds, y, settings=12, trees=60)
    best = max(tuned.tried, key=lambda settings: settings["pr_auc"])
    moved = not tuned.tried[0]["chosen"]
    found["more by tuning"].append(area(tuned.model)[0] - plain if moved else 0)
    found["did tuning move a setting?"].append(moved)
    greedy = clone(model).set_params(**{name: best[name] for name in CHOICES})
    found["more by the best mean, sure or not"].append(area(greedy)[0] - plain)
    _calibrate(judge_folds(model, folds, y)[:, 0], y >= 3, folds, score, positive, found)
    _forecast(model, x, bags, y, names, held_x, held_bags, positive, groups[held], rng, found)


def _calibrate(
    raw: Any, known: Any, folds: Any, score: Any, positive: Any, found: Found
) -> None:  # fmt: skip
    brier = compare_ways(raw, known, [(fold.train, fold.held) for fold in folds])
    held = {
        way: float(np.mean((Calibration(1.0, way).fit(raw, known).predict(score) - positive) ** 2))
        for way in WAYS
    }
    found["Brier, raw votes"].append(float(np.mean((score - positive) ** 2)))
    for way in WAYS:
        found[f"Brier, {way}"].append(held[way])
    found["Brier, auto"].append(held[min(WAYS, key=lambda way: brier[way])])


def _forecast(
    model: FilterForest, x: Any, bags: Any, y: Any, names: Any,
    held_x: Any, held_bags: Any, positive: Any, held_groups: Any,
    rng: np.random.Generator, found: Found,
) -> None:  # fmt: skip
    """From a quarter of the labels; the truth is the mean of three larger samples' forests."""
    few = np.sort(rng.permutation(len(x))[:FEW_LABELS])
    learned = learn_on_less(
        model, x[few], bags[few], y[few], names[few], held_x, held_bags, 4, rng
    )  # fmt: skip
    told = learning_curve(learned, positive, held_groups, rng)
    small = clone(model).set_params(trees=MOST_TREES, folds=3)
    now = told["points"][-1]["pr_auc"]
    for ahead in told["forecast"]:
        reached = []
        for _ in range(3):
            more = rng.choice(np.setdiff1d(np.arange(len(x)), few), ahead["labels"] - FEW_LABELS,
                              replace=False)  # fmt: skip
            part = np.sort(np.concatenate([few, more]))
            small.fit(x[part], bags[part], y[part], names[part])
            score = small.predict(held_x, held_bags)[:, 0]
            reached.append(average_precision_score(positive, score))
        gain, times = float(np.mean(reached)) - now, ahead["times"]
        low, high = ahead["gain_interval"]
        found[f"gain really had at {times} x 300 labels"].append(gain)
        found[f"gain forecast at {times} x 300 labels"].append(ahead["gain"])
        found[f"forecast's error at {times} x 300 labels"].append(abs(ahead["gain"] - gain))
        found[f"is the gain at {times} x within the interval?"].append(low <= gain <= high)


if __name__ == "__main__":
    main()
