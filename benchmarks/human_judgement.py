"""Does the filter agree with people? The forest against every baseline, on the same splits.

    python -m benchmarks.human_judgement [--quick] [--json FILE] [--encoder DIR]

Six sets that people judged, two whose labels are about the source. Each is cross-validated in five
parts by group, several times over; nothing of a group is on both sides. For each set: PR-AUC of
the positive class, its spread over the parts, precision when as many documents are kept as are
positive, the Brier score of the calibrated probability (in the first pass), the rank correlation
of the expected score with what people said where that is finer than yes or no, and what the forest
has more than each baseline, with a 95 % interval that knows that folds share their training rows.
A win is an interval above zero. With `--encoder` a pretrained encoder's columns are tried too.

The data is no part of the project; without it this says so and measures nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from sklearn.metrics import average_precision_score

from benchmarks.judged_sets import JUDGED_SETS, Judged
from benchmarks.judges import FOREST, Split, Verdict, judge
from benchmarks.labelled_sets import DATA
from benchmarks.measured import Row, arguments, report
from benchmarks.paired import compare
from classifiers.encoder import Encoder
from classifiers.forest import split_by_group

FOLDS = 5
QUICK_SETS = ("dclm, would keep", "java, readable")
AREA, PRECISION = "PR-AUC", "precision at the base rate's cut"
BRIER, CORRELATION = "Brier score", "rank correlation"
Figures = dict[tuple[str, str], list[float]]  # by what is measured and judge, one for each fold


def main() -> None:
    """Measure every set."""
    asked = arguments(__doc__, encoder="of a pretrained encoder")
    if not DATA.is_dir():
        sys.exit(f"human_judgement: there is no {DATA}; give it the judged data")
    encoder = Encoder.open(asked.encoder) if asked.encoder else None
    rows: list[Row] = []
    for judged_set in JUDGED_SETS:
        if asked.quick and judged_set.name not in QUICK_SETS:
            continue
        judged = judged_set.read()
        began, vectors = time.perf_counter(), None
        if encoder is not None:
            vectors = encoder.transform(judged.texts)
            rows.append(_cost(judged, time.perf_counter() - began))
        figures = measure(judged, vectors, 1 if asked.quick else judged_set.seeds)
        rows += tell(judged, figures)
        sys.stderr.write(f"{judged_set.name}: {time.perf_counter() - began:.0f} s\n")
    report(rows, asked.json)


def measure(judged: Judged, vectors: npt.NDArray[np.float32] | None, seeds: int) -> Figures:
    """Every judge on every fold; a judge that has no verdict in a fold has nan there."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="primer-judgement-") as scratch:
        for seed in range(seeds):
            parts = split_by_group(judged.positive, judged.groups, FOLDS, seed)
            for i, (train, held) in enumerate(parts):
                split = Split(judged, train, held, seed, vectors, calibrated=seed == 0)
                for name, verdict in judge(split, Path(scratch)):
                    for kind, figure in _figures(split, verdict).items():
                        column = figures.setdefault((kind, name), [])
                        column += [np.nan] * (seed * FOLDS + i - len(column))
                        column.append(figure)
    return figures


def tell(judged: Judged, figures: Figures) -> Iterator[Row]:
    """The rows of one set: the level of each judge, then what the forest has more than each."""
    size = f"{len(judged.texts)} documents, {100 * judged.positive.mean():.0f} % positive"
    for kind in dict.fromkeys(kind for kind, _ in figures):
        level = {name: np.array(found) for (k, name), found in figures.items() if k == kind}
        peers = {name: float(np.nanmean(found)) for name, found in level.items() if name != FOREST}
        if kind == AREA:
            peers["(deviation over the folds)"] = float(level[FOREST].std())
        yield Row(f"{judged.set.name}: {kind}", float(level[FOREST].mean()), size, peers=peers)
    ours = np.array(figures[AREA, FOREST])
    for (kind, name), found in figures.items():
        if kind != AREA or name in (FOREST, "base rate"):
            continue
        more = compare(ours, np.array(found), FOLDS)
        unit = f"points of {AREA}: {more.verdict}"
        interval = {"from": more.low, "to": more.high}
        yield Row(f"{judged.set.name}: forest over {name}", more.mean, unit, peers=interval)


def _figures(split: Split, verdict: Verdict) -> dict[str, float]:
    """What can be said of a verdict, times 100."""
    truth = split.judged.positive[split.held]
    kept = round(float(split.judged.positive[split.train].mean()) * len(truth))
    found = {
        AREA: average_precision_score(truth, verdict.ranking),
        PRECISION: precision_of_best(truth, verdict.ranking, kept),
    }
    if verdict.probability is not None:
        found[BRIER] = np.mean((verdict.probability - truth) ** 2)
    said = split.judged.values
    order = verdict.ranking if verdict.expected_score is None else verdict.expected_score
    if said is not None and np.ptp(order) > 0:
        found[CORRELATION] = spearmanr(order, said[split.held])[0]
    return {kind: 100 * float(figure) for kind, figure in found.items()}


def precision_of_best(
    truth: npt.NDArray[np.bool_], ranking: npt.NDArray[np.floating], kept: int
) -> float:
    """Of the `kept` best; of documents that tie at the cut, what a random choice would have."""
    cut = np.sort(ranking)[::-1][kept - 1]
    above, tied = ranking > cut, ranking == cut
    return float((truth[above].sum() + truth[tied].mean() * (kept - above.sum())) / kept)


def _cost(judged: Judged, seconds: float) -> Row:
    megabytes = judged.texts.nbytes / 1e6
    speed = {"documents/s": len(judged.texts) / seconds}
    return Row(f"{judged.set.name}: encoder", megabytes / seconds, "MB/s", peers=speed)


if __name__ == "__main__":
    main()
