"""What tests share: a bench that puts real sealed inputs before a stage, a sandbox, an S3 store."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import made_once
import pytest
from catalog_browser import headless, windows

from pipeline.config import Section
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.records import DOCUMENT, make_doc_id, write_table
from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.stage import Outcome, Sealed, Stage, Workplace
from pipeline.step import make_plan, run_step

if TYPE_CHECKING:
    from s3fs import S3FileSystem

# A shell's background jobs ignore it, and so would the programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SHORT_RUNS = SandboxConfig(cpu_seconds=2, wall_seconds=4)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        made_once.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        made_once.end()


@dataclass(frozen=True)
class Sections:
    """A recipe of just the sections that a test needs."""

    given: Mapping[type[Section], Section]
    seed: int = 7

    def section(self, kind: type) -> Any:
        return self.given.get(kind) or kind()


@dataclass
class Bench:
    """Seals hand-made inputs, then runs one real stage over them through the stage contract."""

    run: Path
    stages: list[Stage] = field(default_factory=list)

    def put(self, number: int, name: str, write: Callable[[Path], None], facts: Any = None) -> None:
        """Seal a directory that `write(directory)` fills, as if stage `name` had made it."""

        def work(place: Workplace) -> Outcome:
            write(place.out)
            return Outcome(Ledger("rows", 0, 0), facts or {})

        self.stages.append(Stage(number, name, 1, (), (), (), work))

    def put_documents(self, number: int, name: str, rows: list[dict[str, Any]]) -> None:
        """Seal `documents/00000.parquet` with these documents."""
        self.put(
            number,
            name,
            lambda out: write_table(out / "documents" / "00000.parquet", rows, DOCUMENT),
        )

    def make(self, stage: Stage, *sections: Section, seed: int = 7) -> Sealed:
        """Run the inputs and the stage, and return what it sealed."""
        recipe = Sections({type(s): s for s in sections}, seed)
        plan = make_plan([*self.stages, stage], recipe, self.run)
        return [run_step(step) for step in plan.values()][-1]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run")


def document(text: str, path: str = "a.py", **fields: Any) -> dict[str, Any]:
    """A document record with plain defaults."""
    return {
        "doc_id": make_doc_id("test", path, text),
        "text": text,
        "kind": "code" if path.endswith(".py") else "web",
        "source": "test",
        "group": path.split("/", maxsplit=1)[0],
        "url_or_path": path,
        "licence": None,
        "language": None,
        "origin": "human",
        "metadata": "{}",
        **fields,
    }


def open_sandbox(limits: SandboxConfig = SHORT_RUNS) -> Sandbox:
    """A sandbox, or a skipped test where the kernel gives none."""
    try:
        return Sandbox("test", limits)
    except StageError as error:
        pytest.skip(f"code cannot be executed here: {error}")


@pytest.fixture(scope="module")
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox with the LIMITS of the module that asks for it, or those of short runs."""
    with closing(open_sandbox(getattr(request.module, "LIMITS", SHORT_RUNS))) as opened:
        yield opened


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """A server on loopback that speaks S3."""
    from moto.server import ThreadedMotoServer  # most of a second, which few tests need

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def store(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["S3FileSystem"]:
    """S3 with an empty bucket `corpus`, reached through nothing but the standard variables."""
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    S3FileSystem.clear_instance_cache()
    opened = S3FileSystem()
    opened.mkdir("corpus")
    yield opened
    opened.rm("corpus", recursive=True)
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def chromium():
    """Headless Chromium, or a skipped test where there is none."""
    with headless() as browser:
        yield browser


@pytest.fixture
def opened(chromium):
    """Opens windows of it, and fails where one has complained."""
    with windows(chromium) as open_window:
        yield open_window
