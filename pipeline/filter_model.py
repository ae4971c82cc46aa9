"""A trained filter by the name or the directory of its run, or by its own directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.environment import runs_directory
from pipeline.errors import InputError

if TYPE_CHECKING:
    from classifiers.scorer import Scorer


def find_model(command: str, run: str) -> Path:
    """The directory that holds the forest; InputError where there is none."""
    from classifiers.scorer import FOREST
    from pipeline.train_filter import STAGE

    homes = (Path(run), runs_directory() / run)
    for home in homes:
        for directory in (home, home / STAGE.directory):
            if (directory / FOREST).is_file():
                return directory
    if any(home.is_dir() for home in homes):
        raise InputError(
            command,
            f"--model {run} holds no trained filter",
            "carry the recipe on to it: primer run RECIPE --until train-filter",
        )
    raise InputError(
        command,
        f"there is no run or filter --model {run}",
        f"give a directory or a name in {runs_directory()}",
    )


def open_model(command: str, directory: Path) -> Scorer:
    """The scorer in a directory; InputError where it is damaged or of another version."""
    from classifiers.scorer import Scorer

    try:
        return Scorer.open(directory)
    except Exception as error:  # onnx, numpy and JSON name damage in many types
        what = f"{type(error).__name__}: {error}"[:300]
        raise InputError(
            command, f"the filter in {directory} cannot be opened ({what})", "train it again"
        ) from error
