"""The versions of a dataset: `runs/<name>`, `runs/<name>-v2`, `runs/<name>-v3` and so on.

The chain is told by the recipes: each names its parent in `increment.parent`. A directory of such
a name whose recipe names no parent is another dataset. Runs that were moved together still find
each other: a parent is looked for beside its version first.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

RECIPE = "recipe.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # `primer show` waits for this
_NUMBERED = re.compile(r"(?P<base>.+)-v(?P<number>[1-9][0-9]*)")


def parent_of(run: Path) -> Path | None:
    """The run that a run grew from; None for a first version, and where no recipe can be read."""
    try:
        fields = yaml.load((run / RECIPE).read_text(), _LOADER)  # noqa: S506  # a safe one
        named = fields["increment"]["parent"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None
    if not isinstance(named, str):
        return None
    beside = run.absolute().parent / Path(named).name
    return run.parent / beside.name if beside.is_dir() else Path(named)


def version_chain(run: Path) -> list[Path]:
    """The run, its parent, and so on to the first version; newest first."""
    chain = [run]
    while (parent := parent_of(chain[-1])) is not None and parent not in chain:
        chain.append(parent)
    return chain


def base_name(run: Path) -> str:
    """The dataset's name, without the number of a version."""
    match = _NUMBERED.fullmatch(run.absolute().name)
    return match["base"] if match and parent_of(run) is not None else run.absolute().name


def version_number(run: Path) -> int:
    """1 for a first version; of a version with a name of its own, its place in the chain."""
    match = _NUMBERED.fullmatch(run.absolute().name)
    if match and parent_of(run) is not None:
        return int(match["number"])
    return len(version_chain(run))


def newest_version(runs: Path, name: str) -> Path | None:
    """The version with the highest number, whole or not; None where there is no such dataset."""
    first = [runs / name] if (runs / name / RECIPE).is_file() else []
    later = [
        path for path in runs.glob(f"{name}-v*") if parent_of(path) and base_name(path) == name
    ]
    return max([*first, *later], key=version_number, default=None)


def next_version(run: Path) -> Path:
    """Where the version after this one lies."""
    return run.parent / f"{base_name(run)}-v{version_number(run) + 1}"
