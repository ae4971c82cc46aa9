"""Which runs there are, and what each of them sealed; read again only where a manifest changed.

A run is found by its name in the listing of the runs' directory, never by a path that a request
gave, so no request can lead out of it. Opening a hundred runs of thirteen manifests takes seconds
the first time (done beside the first requests); after that it costs their `stat` calls, 10 ms.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from catalog.render import segment
from pipeline.errors import InputError, StageError
from pipeline.manifest import MANIFEST
from pipeline.stage import Sealed
from pipeline.verify import sealed_stages

RECIPE = "recipe.yaml"
Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Run:
    """One run as it lay on disk when it was looked at.

    `problem` says in one line why it cannot be read, or that nothing is sealed yet.
    """

    name: str
    path: Path
    stages: Mapping[str, Sealed] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    problem: str | None = None
    damaged: bool = False

    @property
    def address(self) -> str:
        """Where its pages are."""
        return f"/runs/{segment(self.name)}"

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe that it was made by; empty where there is none that can be read."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            found = yaml.load((self.path / RECIPE).read_bytes(), loader)  # noqa: S506  # a safe loader
        except (OSError, ValueError, yaml.YAMLError):  # ValueError: a date that is none
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def parent(self) -> str | None:
        """The name of the run that it appended a version to."""
        increment = self.recipe.get("increment")
        given = increment.get("parent") if isinstance(increment, dict) else None
        return Path(given).name if isinstance(given, str) else None

    @cached_property
    def title(self) -> str:
        """The dataset's name for people."""
        card = self.recipe.get("card")
        of_recipe = card.get("title") if isinstance(card, dict) else None
        of_card = self.stages["card"].facts.get("title") if "card" in self.stages else None
        return str(of_card or of_recipe or self.name)

    @cached_property
    def licence(self) -> str:
        """The licence of the whole; unknown where nobody stated one."""
        card = self.recipe.get("card")
        return str((card.get("licence") if isinstance(card, dict) else None) or "unknown")

    @cached_property
    def stale(self) -> frozenset[str]:
        """Stages that were made from something that has been made anew, or is gone, since."""
        found: set[str] = set()
        for name, sealed in self.stages.items():
            for need, fingerprint in sealed.manifest.needs.items():
                made_of = self.stages.get(need)
                if made_of is None or made_of.manifest.fingerprint != fingerprint or need in found:
                    found.add(name)
        return frozenset(found)

    @cached_property
    def words(self) -> str:
        """All that a search looks in: name, title, licence, and the text of facts."""
        facts = [sealed.facts for sealed in self.stages.values()]
        sources = self.recipe.get("sources") or self.recipe.get("ingest")
        told = json.dumps([facts, sources], ensure_ascii=False, default=str)
        return f"{self.name}\n{self.title}\n{self.licence}\n{told}".casefold()


class RunsIndex:
    """The runs of a directory, each remembered until a file that describes it changes."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._known: dict[str, tuple[Signature, Run]] = {}

    def names(self) -> list[str]:
        """The names of the directories that hold a recipe or a sealed stage, sorted."""
        try:
            with os.scandir(self.runs) as entries:
                return sorted(e.name for e in entries if e.name[0] != "." and e.is_dir())
        except FileNotFoundError:
            return []

    def all(self) -> list[Run]:
        """Every run, by name."""
        return [run for name in self.names() if (run := self._open(name)) is not None]

    def read_ahead(self) -> None:
        """Read all that the first page shows and searches, so that nobody has to wait for it."""
        for run in self.all():
            _ = run.parent, run.words, run.stale

    def get(self, name: str) -> Run | None:
        """The run of this name, where the listing has one."""
        return self._open(name) if name in self.names() else None

    def _open(self, name: str) -> Run | None:
        path = self.runs / name
        try:
            signature, unfinished = _look_at(path)
        except FileNotFoundError:  # taken away meanwhile
            return None
        except OSError as error:
            return Run(name, path, problem=f"it cannot be read ({error.strerror})", damaged=True)
        if not signature:
            return None
        known = self._known.get(name)
        if known is None or known[0] != signature or known[1].unfinished != unfinished:
            known = (signature, _read(name, path, unfinished))
            self._known[name] = known
        return known[1]


def _look_at(path: Path) -> tuple[Signature, tuple[str, ...]]:
    """When and how long each file that describes a run is; and what lies there unfinished."""
    described, unfinished = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name == RECIPE:
                described.append((RECIPE, entry.stat()))
            elif entry.name.endswith(".partial"):
                unfinished.append(entry.name)
            elif entry.name[:2].isdecimal() and entry.name[2:3] == "-":
                try:
                    described.append((entry.name, os.stat(f"{entry.path}/{MANIFEST}")))
                except OSError:
                    continue
    signature = sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in described)
    return tuple(signature), tuple(sorted(unfinished))


def _read(name: str, path: Path, unfinished: tuple[str, ...]) -> Run:
    try:
        found = sealed_stages(path)
    except InputError as error:
        problem = without_paths(f"{error.problem}; {error.cure}", path.parent)
        return Run(name, path, unfinished=unfinished, problem=problem)
    except StageError as error:
        problem = without_paths(str(error), path.parent)
        return Run(name, path, unfinished=unfinished, problem=problem, damaged=True)
    stages = {stage: Sealed(*opened) for stage, opened in found.items()}
    return Run(name, path, stages, unfinished)


def without_paths(told: str, runs: Path) -> str:
    """An error's words with runs by their names: where they lie is no reader's business."""
    return told.replace(f"{runs}/", "")


def index_of(request: Request) -> RunsIndex:
    """The index that the application was opened with."""
    index = request.app.state.index
    assert isinstance(index, RunsIndex)
    return index


def open_run(request: Request) -> Run:
    """The run that the address names; 404 where there is none."""
    return open_named(request, request.path_params["run"])


def open_named(request: Request, name: str) -> Run:
    """The run of this name; 404 where there is none."""
    run = index_of(request).get(name)
    if run is None:
        raise HTTPException(404, f"There is no run {name!r} here.")
    return run
