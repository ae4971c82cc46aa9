"""Settings are tried in one order, and move only for more than noise."""

import numpy as np
import pytest
from test_forest import material

from classifiers.forest import FilterForest, make_folds
from classifiers.tuning import draw_settings, standard_errors, surely_best, tune


@pytest.fixture(scope="module")
def labels():
    x, bags, scores, groups = material()
    return make_folds(FilterForest(workers=1), x, bags, scores, groups), scores


def test_a_larger_budget_tries_what_a_smaller_one_did():
    model = FilterForest(max_depth=7, seed=3)
    few, many = draw_settings(model, 5), draw_settings(model, 60)
    assert many[:5] == few
    assert few[0] == {"max_depth": 7, "min_samples_leaf": 3, "max_features": "sqrt", "balance": 1.0}
    assert len({str(settings) for settings in many}) == 60


def test_settings_that_cannot_learn_are_left(labels):
    folds, scores = labels
    stump = FilterForest(max_depth=1, min_samples_leaf=100, workers=1)
    tuned = tune(stump, folds, scores, settings=6, trees=20)
    assert tuned.model.max_depth != 1
    assert tuned.model.trees == stump.trees
    assert [t["chosen"] for t in tuned.tried].count(True) == 1
    assert tuned.tried[0]["pr_auc"] < max(t["pr_auc"] for t in tuned.tried) - 0.1


def test_the_recipe_s_settings_are_left_only_for_a_lead_of_twice_its_error():
    leads = np.array([[0.0, 0, 0, 0], [0.09, -0.05, 0.04, -0.04], [0.02, 0.01, 0.02, 0.01],
                      [0.02, 0.03, 0.01, 0.02]])  # fmt: skip
    errors = standard_errors(leads)
    assert errors[1] == pytest.approx(np.std(leads[1], ddof=1) / 2)
    assert surely_best(leads.mean(axis=1), errors) == 3
    assert surely_best(leads[:2].mean(axis=1), errors[:2]) == 0
    assert surely_best(leads[:, 0], standard_errors(leads[:, :1])) == 0


def test_the_table_is_the_same_with_any_number_of_workers(labels):
    folds, scores = labels
    tables = [tune(FilterForest(workers=n), folds, scores, 3, 20).tried for n in (1, 2)]
    assert tables[0] == tables[1]
