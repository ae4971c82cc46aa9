"""What a stage is: a name, what it needs and makes, the sections it sees, one `work` function.

`work` gets a `Workplace` (where to write, what it may read) and returns an `Outcome` (its ledger
and the figures worth stating). `pipeline.step` turns that into a sealed directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.config import Section
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.manifest import Manifest, Spend, hash_file, hash_json
from pipeline.metrics import counted
from pipeline.progress import progress_bar

S = TypeVar("S", bound=Section)

SCRATCH = "work"  # inside the partial directory; gone when the stage is sealed


class Sections(Protocol):
    """What a stage asks of a recipe: the seed, and a section by its type."""

    @property
    def seed(self) -> int: ...

    def section(self, kind: type[S]) -> S: ...


@dataclass(frozen=True)
class Sealed:
    """An opened artifact: its directory and manifest. Readers ask it for files, never a glob."""

    path: Path
    manifest: Manifest

    def files(self, pattern: str) -> list[Path]:
        """The sealed files whose relative path matches `pattern` (fnmatch), sorted by name."""
        return [self.path / name for name in sorted(self.manifest.files) if fnmatch(name, pattern)]

    def file(self, name: str) -> Path:
        """One sealed file by its relative path; StageError when it is not in the manifest."""
        if name not in self.manifest.files:
            raise StageError(
                self.manifest.stage, f"{name!r} was not sealed", "run the recipe again"
            )
        return self.path / name

    @property
    def ledger(self) -> Ledger:
        """The stage's account."""
        return Ledger.from_json(self.manifest.ledger)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The figures that the stage chose to state."""
        return self.manifest.facts


@dataclass(frozen=True)
class Outcome:
    """What `work` returns: the account, the figures worth stating, and what the teacher cost."""

    ledger: Ledger
    facts: Mapping[str, Any] = field(default_factory=dict)
    spend: Spend | None = None


@dataclass(frozen=True)
class Workplace:
    """What `work` is given: where to write, what it may read, and its sections of the recipe."""

    stage: str
    out: Path
    run: Path
    seed: int
    needs: Mapping[str, Sealed]
    sections: Mapping[type[Section], Section]

    def section(self, kind: type[S]) -> S:
        """The section of this type; KeyError when the stage did not declare that it sees it."""
        found = self.sections[kind]
        assert isinstance(found, kind)
        return found

    @property
    def scratch(self) -> Path:
        """A directory that survives a crash but is not sealed."""
        path = self.out / SCRATCH
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Callable[..., None]]:
        """A progress bar whose steps are counted; see `pipeline.progress.progress_bar`."""
        with progress_bar(f"{self.stage}: {what}", total) as advance:
            yield counted(self.stage, advance)


def _no_inputs(_: Sections) -> Iterable[tuple[str, Path]]:
    return ()


@dataclass(frozen=True)
class Stage:
    """One step of the journey.

    `makes` are patterns, each of which must match a file; `volatile` are patterns of files that
    hold measured times. `inputs` lists (name, path) of files read from outside the run.
    Add one to `version` when the code changes what the stage makes.
    """

    number: int
    name: str
    version: int
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    sees: tuple[type[Section], ...]
    work: Callable[[Workplace], Outcome]
    volatile: tuple[str, ...] = ()
    inputs: Callable[[Sections], Iterable[tuple[str, Path]]] = _no_inputs

    @property
    def directory(self) -> str:
        """The name of the stage's directory in a run."""
        return f"{self.number:02}-{self.name}"

    def hash_inputs(self, recipe: Sections) -> str:
        """One hash over the names and contents of the files read from outside the run."""
        return hash_json([(name, hash_file(path)) for name, path in sorted(self.inputs(recipe))])

    def config(self, recipe: Sections) -> dict[str, Any]:
        """The JSON view of the sections that the stage sees."""
        return {kind.__name__: recipe.section(kind).what() for kind in self.sees}
