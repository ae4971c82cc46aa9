"""When should tuning leave a recipe's settings, and how are votes calibrated? On people's sets.

    python -m benchmarks.tuning_rules [--quick] [--json FILE]

The judged sets of `benchmarks.human_judgement` (those of up to 1,100 documents), in five parts by
group, twice over. In each part twelve settings are tried on the training rows, as stage 4 does; a
rule leaves the recipe's own for the best lead of so many of its standard errors, or for the best
mean whatever its error. The figure is what the rule's choice has more than the recipe's own on the
held-out rows, in points of PR-AUC. Calibrations are judged by their Brier score, times 100.
About 12 minutes on two cores. The data is no part of the project; without it this measures nothing.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import clone
from sklearn.metrics import average_precision_score

from benchmarks.judged_sets import JUDGED_SETS, POSITIVE_SCORE_MIN, Judged
from benchmarks.labelled_sets import DATA
from benchmarks.measured import Row, arguments, report
from classifiers.calibration import WAYS, Calibration
from classifiers.embedding import WordEmbedding
from classifiers.features import dense_features
from classifiers.forest import FilterForest, judge_folds, make_folds, split_by_group
from classifiers.tuning import CHOICES, Settings, tune

RULES = {
    "the best mean": None,
    "a lead of 1 error": 1.0,
    "a lead of 2 errors": 2.0,
    "a lead of 3 errors": 3.0,
}
SEEDS = (1, 2)
MOST_DOCUMENTS, QUICK_DOCUMENTS = 1_100, 300
FOLDS = 5
Found = dict[str, list[float]]


def main() -> None:
    """Every set that is small enough."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"tuning_rules: there is no {DATA}; give it the judged data")
    rows: list[Row] = []
    for judged_set in JUDGED_SETS:
        judged = judged_set.read()
        if len(judged.texts) > (QUICK_DOCUMENTS if options.quick else MOST_DOCUMENTS):
            continue
        found: Found = defaultdict(list)
        for seed in SEEDS[:1] if options.quick else SEEDS:
            for train, held in split_by_group(judged.positive, judged.groups, FOLDS, seed):
                _part(judged, train, held, seed, found)
        rows += [_told(judged_set.name, what, found[what]) for what in found]
    report(rows, options.json)


def _told(name: str, what: str, values: list[float]) -> Row:
    """The mean over the parts."""
    return Row(f"{name}: {what}", float(np.mean(values)), f"{len(values)} parts")


def _part(judged: Judged, train: Any, held: Any, seed: int, found: Found) -> None:
    """Learn from the training rows of one part, and judge the held-out ones."""
    embedding = WordEmbedding(seed=seed).fit(judged.texts.take(pa.array(train)))
    x = dense_features(embedding, judged.texts, judged.kinds)
    bags = embedding.bags(judged.texts)
    scores, groups, truth = judged.scores[train], judged.groups[train], judged.positive[held]
    model = FilterForest(seed=seed, workers=1)
    folds = make_folds(model, x[train], bags[train], scores, groups)

    def judge(settings: Settings) -> Any:
        changed = clone(model).set_params(**{name: settings[name] for name in CHOICES})
        return changed.fit(x[train], bags[train], scores, groups).predict(x[held], bags[held])[:, 0]

    tried = tune(model, folds, scores, settings=12, trees=60).tried
    plain = judge(tried[0])
    for name, errors in RULES.items():
        chosen = _chosen(tried, errors)
        points = 0.0
        if chosen is not tried[0]:
            more = average_precision_score(truth, judge(chosen))
            points = 100 * float(more - average_precision_score(truth, plain))
        found[f"more by {name}"].append(points)
    raw, known = judge_folds(model, folds, scores)[:, 0], scores >= POSITIVE_SCORE_MIN
    for way in WAYS:
        probability = Calibration(1.0, way).fit(raw, known).predict(plain)
        found[f"Brier, {way}"].append(100 * float(np.mean((probability - truth) ** 2)))


def _chosen(tried: list[Settings], errors: float | None) -> Settings:
    """The settings with the greatest lead of those that the rule allows."""
    if errors is None:
        return max(tried, key=lambda settings: settings["lead"])
    sure = [t for t in tried if t["lead"] > 0 and t["lead"] >= errors * (t["lead_error"] or np.inf)]
    return max(sure, key=lambda settings: settings["lead"], default=tried[0])


if __name__ == "__main__":
    main()
