"""Shuffling what matters costs; shuffling noise does not."""

import numpy as np

from classifiers.importance import permutation_importance


def test_only_the_columns_that_are_looked_at_matter():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3)).astype(np.float32)
    positive = features[:, 0] + features[:, 1] > 0
    families = {"noise": [2], "both": [0, 1], "first": [0]}
    found = permutation_importance(lambda x: x[:, 0] + x[:, 1], features, families, positive, rng)
    assert list(found) == ["both", "first", "noise"]
    assert found["noise"] == {"lost": 0.0, "least": 0.0, "most": 0.0}
    assert found["both"]["lost"] > found["first"]["lost"] + 0.05
    for figures in found.values():
        assert figures["least"] <= figures["lost"] <= figures["most"]
