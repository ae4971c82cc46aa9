"""The filter's stage under a real Slurm: the same bytes, clear failures, nothing left in the queue.

Opt in: `pytest -m slurm` (Debian's slurm-wlm and munge, and root).
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from filter_material import clean_with, corpus, put
from slurm_cluster import asked, slurm_cluster, wait_for

from conftest import Bench
from pipeline import apply_filter, train_filter
from pipeline.apply_filter import ApplyFilterConfig
from pipeline.errors import StageError
from pipeline.executors import SlurmExecutor
from pipeline.filter_config import TrainFilterConfig
from pipeline.ledger import Ledger
from pipeline.manifest import hash_file
from pipeline.shards import run_shards
from pipeline.stage import Workplace

pytestmark = pytest.mark.slurm
SMALL = TrainFilterConfig(trees=30, corpus_sample=200, folds=3)
TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Count:
    """Work that leaves a line for each start; one rank fails, another takes its time."""

    seen: Path
    fails: int = -1
    slow: int = -1
    slow_s: float = 60.0

    def __call__(self, rank, world_size):
        with (self.seen / f"{rank}").open("a") as file:
            file.write(f"of {world_size}\n")
        if rank == self.fails:
            raise ValueError(f"no bread in rank {rank}")
        if rank == self.slow and not (self.seen / "go").exists():
            time.sleep(self.slow_s)
        return Ledger("rows", 2, 1, {"odd": 1})


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(TESTS)  # jobs unpickle `Count` from here
    with slurm_cluster(tmp_path_factory.mktemp("slurm")):
        yield
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def go(tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()
    place = Workplace("apply-filter", tmp_path / "out", tmp_path, 0, {}, {})

    def run(tasks=3, executor=None, **work):
        executor = executor or SlurmExecutor(time="5:00")
        return run_shards(place, "filter", Count(seen, **work), "rows", tasks, 2, executor)

    run.seen = seen
    return run


def queue():
    return asked("squeue", "--me", "--noheader", "--array").splitlines()


def bench_at(run):
    bench = Bench(run)
    put(bench, [row for row, _ in corpus()], files=4)
    bench.make(train_filter.STAGE, SMALL)
    bench.stages.append(train_filter.STAGE)
    return bench


def sealed(bench, executor):
    """The hashes of the sealed files, which are moved aside."""
    config = ApplyFilterConfig(tasks=3, workers=1, executor=executor)
    made = bench.make(apply_filter.STAGE, SMALL, config)
    hashes = {name: hash_file(made.path / name) for name in made.manifest.files}
    made.path.rename(f"{bench.run}-{executor}-{time.monotonic_ns()}")
    return hashes


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return bench_at(tmp_path_factory.mktemp("bench") / "run")


@pytest.fixture(scope="module")
def here(bench):
    return sealed(bench, "local")


def test_slurm_seals_what_local_processes_seal(bench, here):
    assert sealed(bench, "slurm") == here


def test_clean_with_all_its_passes_seals_the_same(tmp_path):
    assert clean_with(tmp_path / "there", "slurm") == clean_with(tmp_path / "here", "local")


FILTER_DRIVER = """
import sys
from pathlib import Path
from test_slurm import bench_at, sealed
sealed(bench_at(Path(sys.argv[1])), "slurm")
"""


def test_a_killed_driver_is_followed_by_one_that_seals_the_same(bench, here):
    driver = subprocess.Popen([sys.executable, "-c", FILTER_DRIVER, bench.run], cwd=TESTS.parent)
    wait_for(lambda: list(bench.run.rglob("completions/*")), bench.run)
    driver.kill()
    driver.wait(60)
    assert queue() != []
    assert sealed(bench, "slurm") == here
    assert queue() == []


def test_a_rank_that_fails_is_named_with_its_last_words_and_the_others_stay_done(go, monkeypatch):
    monkeypatch.setattr("pipeline.slurm_executor._SETTLING_S", 1.0)  # the disk is not a network's
    with pytest.raises(
        StageError, match=r"1 of 3 shards failed under Slurm \(1\).*no bread in rank 1.*see .*\.out"
    ):
        go(fails=1)
    assert queue() == []
    ledger = go()
    assert (ledger.rows_in, ledger.kept) == (6, 3)
    starts = [len((go.seen / str(rank)).read_text().splitlines()) for rank in range(3)]
    assert starts == [1, 2, 1]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"partition": "nosuch"}, "invalid partition"),
        ({"partition": "shut"}, "does not start .*PartitionDown"),
        ({"cpus_per_task": 64}, "does not start the 3 jobs that are left .PartitionConfig"),
        ({"time": "9:00:00"}, "does not start .*PartitionTimeLimit"),
        ({"mem_per_cpu_gb": 900}, "Memory specification can not be satisfied"),
        ({"sbatch_args": {"oops": 3}}, "oops"),
    ],
)
def test_what_slurm_will_never_run_is_one_clear_line(go, fields, told):
    with pytest.raises(StageError, match=told) as failed:
        go(executor=SlurmExecutor(**fields))
    assert "\n" not in str(failed.value)
    assert queue() == []


DRIVER = """
import sys
from pathlib import Path
from pipeline.executors import SlurmExecutor
from pipeline.shards import run_shards
from pipeline.stage import Workplace
from test_slurm import Count
home = Path(sys.argv[1])
place = Workplace("apply-filter", home / "out", home, 0, {}, {})
print(run_shards(place, "filter", Count(home / "seen", slow=2), "rows", 3, 2, SlurmExecutor()).kept)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_ends_early_costs_what_was_running_and_no_more(go, sent, tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], cwd=TESTS.parent)
    wait_for((go.seen / "2").exists, tmp_path / "seen")
    driver.send_signal(sent)
    driver.wait(60)
    if sent == signal.SIGINT:
        wait_for(lambda: queue() == [], tmp_path / "seen", seconds=20)
    else:
        assert queue() != []
    (go.seen / "go").touch()
    assert go(slow=2).kept == 3
    assert queue() == []
    assert len((go.seen / "0").read_text().splitlines()) == 1
