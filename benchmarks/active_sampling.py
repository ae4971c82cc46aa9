"""Does choosing what to label save labels? Active rounds against random draws, on real documents.

    python -m benchmarks.active_sampling [--quick] [--json FILE]

Each seed parts a data set by group: a third is the test, the rest may be labelled. Every way of
choosing has the same budget; an active one takes half of it as its first, stratified round. The
judge is the filter's forest (60 trees) on all labels so far: PR-AUC of the positive class on the
test and, at the second budget, the Brier score after calibration, both times 100. Gains are paired
by seed; the intervals (95 %) draw the seeds again. `choose_next` got its defaults on the tasks
"chosen on", with other seeds; those "reported" had no part in it, and share no document with them.
The ways that looked best on eight seeds are tried on eight more, which are also told apart.

Labels are people's ("java", "danish", "dclm": few), the source's ("teaching", "textbook": wrong
for many a row), or of the stand-in's rules ("rubric": of the row, without noise). The data is no
part of the project; without it this says so and measures nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from benchmarks.labelled_sets import DATA, TASKS, Task
from benchmarks.measured import Row, arguments, report
from classifiers.calibration import Calibration
from classifiers.embedding import WordEmbedding
from classifiers.features import dense_features
from classifiers.forest import FilterForest, out_of_fold, split_by_group
from pipeline.active import ActiveConfig, choose_next
from pipeline.sampling import Candidate, draw_sample, read_candidates
from pipeline.splits import ValidationConfig, place_of

TEXT_CHARS = 4_000  # of a document: so the whole takes minutes
NO_VALIDATION = ValidationConfig(share=1e-12)
VARIANTS = {
    "without thin strata": ActiveConfig(thin_share=0),
    "the least certain alone": ActiveConfig(thin_share=0, reach=1, per_group=1_000_000),
    "spread over groups, no forest": ActiveConfig(reach=1_000),
    "thin strata alone": ActiveConfig(thin_share=1),
}
AFTER_UNIFORM = "active, first round uniform"
SEEDS, SEEDS_OF_ALL = 16, 8  # what looked best on the first seeds is checked on further ones
RANDOM = "stratified"
CALIBRATED = {RANDOM, "uniform", "active", "the least certain alone"}
RESAMPLED = 2_000
Figures = dict[tuple[str, int], list[float]]  # by way and labels, one for each seed
Gains = dict[str, npt.NDArray[np.float64]]  # by way, one for each seed


def main() -> None:
    """Measure every task, then say what each half has in the mean."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"active_sampling: there is no {DATA}; give it the labelled data")
    # Few labels of a class are what is measured here, not a mistake.
    warnings.filterwarnings("ignore", "The least populated class")
    rows: list[Row] = []
    gains: dict[str, list[Gains]] = {}
    for task in TASKS if not options.quick else [TASKS[1], TASKS[4]]:
        budgets = task.budgets[:1] if options.quick else task.budgets
        areas: Figures = {}
        briers: Figures = {}
        with tempfile.TemporaryDirectory(prefix="primer-active-") as scratch:
            path, every = Path(scratch) / "documents.parquet", 2 if options.quick else 1
            documents = _Documents.write(task, path, every)
            for seed in range(2 if options.quick else SEEDS):
                _measure(_Trial(documents, seed), budgets, areas, briers)
        rows += _rows(task, budgets, areas, briers)
        gains.setdefault(task.half, []).append(_gains(budgets, areas))
    rows += [row for half, found in gains.items() for row in _means(half, found)]
    report(rows, options.json)


@dataclass(frozen=True)
class _Documents:
    """N documents of a task, in a file and judged."""

    task: Task
    path: Path
    candidates: list[Candidate]
    scores: npt.NDArray[np.int64]
    groups: npt.NDArray[np.object_]

    @classmethod
    def write(cls, task: Task, path: Path, every: int) -> _Documents:
        with gzip.open(DATA / task.file, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines][::every]
        for row in rows:
            row["text"] = row.get("text", row.get("code"))[:TEXT_CHARS]
        columns = {
            "doc_id": [f"{i:06}" for i in range(len(rows))],
            "text": [row["text"] for row in rows],
            "kind": [task.kind] * len(rows),
            "source": [task.source(row) for row in rows],
            "group": [task.group(row) for row in rows],
        }
        pq.write_table(pa.table(columns), path)
        scores = np.array([task.score(row) for row in rows], np.int64)
        groups = np.array(columns["group"], object)
        return cls(task, path, read_candidates([path]), scores, groups)


class _Trial:
    """One parting of the documents: what may be labelled, and how labels are judged."""

    def __init__(self, documents: _Documents, seed: int) -> None:
        self.documents, self.seed = documents, seed
        self.positive = documents.scores >= documents.task.positive_score_min
        train, self.test = split_by_group(self.positive, documents.groups, 3, seed)[0]
        self.free = [documents.candidates[i] for i in train]
        table = pq.read_table(documents.path, columns=["text", "kind"])
        words = np.sort(np.random.default_rng(seed).permutation(train)[:2_000])
        embedding = WordEmbedding(seed=seed).fit(table["text"].take(pa.array(words)))
        self.x = dense_features(embedding, table["text"], table["kind"])
        self.bags = embedding.bags(table["text"])

    def stratified(self, size: int) -> list[Candidate]:
        return draw_sample(self.free, size, self.seed, NO_VALIDATION).drawn

    def uniform(self, size: int) -> list[Candidate]:
        return sorted(self.free, key=lambda c: place_of(c.doc_id, self.seed, "uniform"))[:size]

    def active(self, first: list[Candidate], size: int, config: ActiveConfig) -> list[Candidate]:
        """The first round, and what is chosen when it has labels, `size` in all."""
        documents = self.documents
        labels = {c.doc_id: int(documents.scores[int(c.doc_id)]) for c in first}
        choice = choose_next(
            self.free, [documents.path], labels, size - len(first), self.seed, config,
            documents.task.positive_score_min,
        )  # fmt: skip
        return first + choice.chosen

    def judge(self, labelled: list[Candidate], calibrated: bool) -> tuple[float, float]:
        """PR-AUC and, where asked for, the Brier score of the test; times 100."""
        rows = np.array(sorted(int(c.doc_id) for c in labelled))
        scores, groups = self.documents.scores[rows], self.documents.groups[rows]
        floor = self.documents.task.positive_score_min
        model = FilterForest(60, positive_score_min=floor, folds=3, seed=self.seed, workers=1)
        truth = self.positive[self.test]
        try:
            model.fit(self.x[rows], self.bags[rows], scores, groups)
        except ValueError:  # all labels of a class are of one group: no forest, no order
            return 100 * float(truth.mean()), 100 * float(truth.var())
        raw = model.predict(self.x[self.test], self.bags[self.test])[:, 0]
        area = 100 * float(average_precision_score(truth, raw))
        if not calibrated:
            return area, float("nan")
        held = out_of_fold(model, self.x[rows], self.bags[rows], scores, groups)[:, 0]
        judged = Calibration().fit(held, self.positive[rows]).predict(raw)
        return area, 100 * float(np.mean((judged - truth) ** 2))


def _draws(trial: _Trial, budgets: tuple[int, ...]) -> Iterator[tuple[str, int, list[Candidate]]]:
    """(way, labels, documents) of all that is compared."""
    for size in (budgets[0] // 2, *budgets, 2 * budgets[-1]):
        yield RANDOM, size, trial.stratified(size)
    before: list[Candidate] = []
    for size in budgets:
        yield "uniform", size, trial.uniform(size)
        half, even = trial.stratified(size // 2), trial.uniform(size // 2)
        active = trial.active(half, size, ActiveConfig())
        yield "active", size, active
        yield AFTER_UNIFORM, size, trial.active(even, size, ActiveConfig())
        if trial.seed >= SEEDS_OF_ALL:
            continue
        for way, config in VARIANTS.items():
            yield way, size, trial.active(half, size, config)
        before = trial.active(before, size, ActiveConfig()) if before else active
        yield "active, in rounds", size, before


def _measure(trial: _Trial, budgets: tuple[int, ...], areas: Figures, briers: Figures) -> None:
    """Add the figures of one seed."""
    for way, size, chosen in _draws(trial, budgets):
        calibrated = way in CALIBRATED and size == trial.documents.task.budgets[1]
        area, brier = trial.judge(chosen, calibrated)
        areas.setdefault((way, size), []).append(area)
        if calibrated:
            briers.setdefault((way, size), []).append(brier)


def _gains(budgets: tuple[int, ...], areas: Figures) -> Gains:
    """Of each way over the stratified draw, in the mean over budgets."""
    return {
        way: np.mean([_paired(areas, way, size) for size in budgets], axis=0)
        for way in dict.fromkeys(way for way, _ in areas if way != RANDOM)
    }


def _paired(figures: Figures, way: str, size: int) -> npt.NDArray[np.float64]:
    """What a way has more than the stratified draw, seed by seed of those that it was tried on."""
    tried = figures[way, size]
    return np.subtract(tried, figures[RANDOM, size][: len(tried)])


def _rows(task: Task, budgets: tuple[int, ...], areas: Figures, briers: Figures) -> list[Row]:
    """For each budget what active sampling gains, and the labels that it saves."""
    rows = []
    for size in budgets:
        name = f"{task.name} ({task.half}), {size} labels"
        rows.append(_compared(f"{name}: gain", areas, size, "points of PR-AUC"))
        needed, interval = _needed(areas, size)
        rows.append(Row(f"{name}: worth", needed, f"labels, {RANDOM}", peers=interval))
        if ("active", size) in briers:
            rows.append(_compared(f"{name}: error", briers, size, "points of Brier score"))
    return rows


def _means(half: str, gains: list[Gains]) -> Iterator[Row]:
    """What each way gains in the mean of a half's tasks."""
    for way in gains[0]:
        by_seed = np.mean([task[way] for task in gains], axis=0)
        gain, peers = _mean(by_seed)
        if len(by_seed) > SEEDS_OF_ALL:
            peers["on the first seeds"] = float(by_seed[:SEEDS_OF_ALL].mean())
            peers["on the further seeds"] = float(by_seed[SEEDS_OF_ALL:].mean())
        unit = f"points of PR-AUC over {RANDOM}, mean of {len(gains)} tasks and their budgets"
        yield Row(f"{half}: {way}", gain, unit, peers=peers)


def _compared(name: str, figures: Figures, size: int, unit: str) -> Row:
    """What the active way has more than the stratified draw, and beside it what others have."""
    more = {
        way: _mean(_paired(figures, way, size))
        for way, labels in figures
        if labels == size and way != RANDOM
    }
    gain, interval = more.pop("active")
    level = {RANDOM: float(np.mean(figures[RANDOM, size]))}
    others = {way: mean for way, (mean, _) in more.items()}
    return Row(name, gain, f"{unit} over {RANDOM}", peers={**interval, **level, **others})


def _mean(values: npt.NDArray[np.float64]) -> tuple[float, dict[str, float]]:
    """The mean over seeds, and its interval."""
    low, high = np.quantile(values[_resamples(len(values))].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), {"from": float(low), "to": float(high)}


def _needed(areas: Figures, size: int) -> tuple[float, dict[str, float]]:
    """The labels at which the stratified draw's curve is as high as the active way's at `size`.

    Between its sizes the curve goes straight over the logarithm of the labels. It is not prolonged:
    what lies above it is said to need its last size, which then is too few.
    """
    sizes = sorted(size for way, size in areas if way == RANDOM)
    curves = np.array([areas[RANDOM, size] for size in sizes])
    reached = np.array(areas["active", size])

    def labels(seeds: npt.NDArray[np.int64]) -> float:
        rising = np.maximum.accumulate(curves[:, seeds].mean(axis=1))
        return float(np.exp(np.interp(reached[seeds].mean(), rising, np.log(sizes))))

    found = [labels(seeds) for seeds in _resamples(len(reached))]
    low, high = np.quantile(found, [0.025, 0.975])
    return labels(np.arange(len(reached))), {"from": float(low), "to": float(high)}


def _resamples(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, count, (RESAMPLED, count))


if __name__ == "__main__":
    main()
