"""Look where shards arrive, and tell of new ones in an event that starts a curating run.

Two looks are cheap: a listing (names, sizes, stamps) is compared with the one that was told of
last. Only where it differs is the dataset's newest version asked whether these files are new to it,
which may read them. A listing is told of once: a run that then fails is started again as any failed
run is, and not by the same files. A file that is still being written to is left for the next look;
the run that other files start reads all that is there.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.recipe import Recipe
from flows.schedule import WatchConfig
from pipeline.addresses import local_path
from pipeline.errors import InputError
from pipeline.manifest import hash_json
from pipeline.sources import SourceConfig, SourceFile
from pipeline.sources_listing import list_files

log = logging.getLogger("primer")

ARRIVED = "primer.shards.arrived"
_MEMORY = ".announced"  # a folder of the runs', beside the datasets


def dataset_resource(name: str) -> str:
    """The id of a dataset as events name it."""
    return f"primer.dataset.{name}"


def announce_new_shards(recipe: Recipe, runs: Path) -> bool:
    """Emit `primer.shards.arrived` where there are files that no version has read yet."""
    watch = recipe.schedule.watch
    if watch is None:
        raise InputError(
            "new-shards", f"recipe {recipe.name} watches no address", "set schedule.watch.address"
        )
    files = quiet_files(watch, time.time())
    listing = hash_json([[file.name, file.bytes, file.stamp] for file in files])
    memory = runs / _MEMORY / f"{recipe.name}.json"
    if not files or listing == _remembered(memory):
        log.info("%s: nothing new at %s", recipe.name, watch.address)
        return False
    arrived = _is_new(recipe, runs)
    if arrived:
        _emit(recipe, watch, files)
    _remember(memory, listing)
    return arrived


def quiet_files(watch: WatchConfig, now: float) -> list[SourceFile]:
    """The files at the address that nobody writes to any more, sorted by name."""
    where = SourceConfig(
        name="watched", address=watch.address, kind="web", include=tuple(watch.include)
    )
    try:
        files = list_files(where)
    except InputError as error:
        # an address where nothing has arrived yet is no mistake
        log.info("%s", error)
        return []
    local = local_path(where.place) is not None
    last_ns = (now - watch.quiet_s) * 1e9
    return [file for file in files if not local or int(file.stamp or 0) <= last_ns]


def _is_new(recipe: Recipe, runs: Path) -> bool:
    from flows.deployed import plan_next_version

    return plan_next_version(recipe, runs) is not None


def _emit(recipe: Recipe, watch: WatchConfig, files: Sequence[SourceFile]) -> None:
    from prefect.events import emit_event

    emit_event(
        ARRIVED,
        resource={
            "prefect.resource.id": dataset_resource(recipe.name),
            "prefect.resource.name": recipe.name,
        },
        related=[
            {"prefect.resource.id": f"primer.address.{watch.address}",
             "prefect.resource.role": "source"},
        ],
        payload={"files": len(files), "bytes": sum(file.bytes for file in files)},
    )  # fmt: skip
    log.info("%s: new shards at %s (%d files)", recipe.name, watch.address, len(files))


def _remembered(memory: Path) -> Any:
    try:
        return json.loads(memory.read_text())["listing"]
    except FileNotFoundError:
        return None


def _remember(memory: Path, listing: str) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    beside = memory.with_suffix(".partial")
    with beside.open("w") as file:
        json.dump({"listing": listing}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(memory)
