"""Copy a sealed card out as a directory of its own, whole or not at all, with a list of hashes.

Data are linked where the place is on the same disk; what a person may want to edit is copied. Every
file is hashed on its way and must be what was sealed. The directory has its name when all is there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.card_data import DATA
from pipeline.errors import InputError, StageError
from pipeline.increment import link_file
from pipeline.manifest import hash_file
from pipeline.stage import Sealed
from pipeline.verify import sealed_stages

SUMS = "SHA256SUMS"


def open_card(run: Path) -> Sealed:
    """The sealed card of a run; InputError where it has none."""
    stages = sealed_stages(run)
    if "card" not in stages:
        raise InputError("card", f"{run} has no sealed card yet", "run the recipe until card")
    return Sealed(*stages["card"])


def publish_card(run: Path, place: Path) -> int:
    """Write the dataset of a run to `place`; returns how many files. `place` must not be there.

    Raises InputError for a place that is taken, StageError where a file is not what was sealed.
    """
    card = open_card(run)
    if place.exists() or place.is_symlink():
        raise InputError("card", f"{place} is there already", "name a directory that is not")
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        _fill(partial, card)
        partial.rename(place)
    except OSError as error:
        raise InputError("card", f"{place} cannot be written ({error})", "name another") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _sync(place.parent)
    return len(card.manifest.files) + 1


def _fill(folder: Path, card: Sealed) -> None:
    for name, entry in card.manifest.files.items():
        if not (card.path / name).is_file():
            raise StageError("card", f"{card.path / name} is missing", "run the recipe again")
        if name.startswith(f"{DATA}/"):
            link_file(card.path / name, folder / name)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(card.path / name, folder / name)
        if hash_file(folder / name) != entry.sha256:
            raise StageError(
                "card", f"{card.path / name} is not what was sealed",
                "delete the stage's directory and run the recipe again",
            )  # fmt: skip
        _sync(folder / name)
    sums = "".join(f"{e.sha256}  {name}\n" for name, e in sorted(card.manifest.files.items()))
    (folder / SUMS).write_text(sums)
    _sync(folder / SUMS)


def _sync(path: Path) -> None:
    """Have a file or directory on the disk before its name counts."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
