"""Train fastText on DIRECTORY/train.txt and judge DIRECTORY/held.txt, in a process of its own.

A fresh process, because fastText's result depends on what its process did before (see
`classifiers.baselines`), and because a crash in its C++ must cost the baseline, not the run. It
still stops now and then with "Encountered NaN": a smaller learning rate cures that.
Run as a script; it imports nothing of Primer.
"""

import json
import sys
from pathlib import Path

import fasttext

LEARNING_RATES = (0.5, 0.35, 0.25, 0.1, 0.05)
SETTINGS = {
    "epoch": 25,
    "dim": 32,
    "wordNgrams": 2,
    "bucket": 100_000,
    "thread": 1,  # more threads race, and no two runs agree
    "verbose": 0,
}


def train(path: Path) -> "fasttext.FastText._FastText":
    """The model; RuntimeError where no learning rate works."""
    for rate in LEARNING_RATES:
        try:
            return fasttext.train_supervised(str(path), lr=rate, **SETTINGS)
        except RuntimeError as error:
            failure = error
    raise failure


def probability(model: "fasttext.FastText._FastText", line: str) -> float:
    """Of the label 1."""
    labels, shares = model.predict(line, k=2)
    return float(dict(zip(labels, shares, strict=True)).get("__label__1", 0.0))


def main(directory: Path) -> None:
    """Write DIRECTORY/probabilities.json, one number for each line of held.txt."""
    model = train(directory / "train.txt")
    with (directory / "held.txt").open(encoding="utf-8", newline="\n") as lines:
        found = [probability(model, line.rstrip("\n")) for line in lines]
    (directory / "probabilities.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
