"""Work on the shards of a pass in job arrays of Slurm, and wait for them.

A rank's work, log and completion are datatrove's, and so is its script for sbatch. What differs:
the stage waits for its jobs; what sbatch says when it refuses reaches the user; nothing is left in
the queue when the stage is stopped or fails. (datatrove 0.10.1 returns after submission, and its
job that merges statistics stays queued for ever where a rank has failed.)

The jobs bear a name made from the run's directory, so a driver that comes after a killed one finds
the jobs that were left and cancels them before it submits the ranks that are still to do. A job
whose node dies is queued again by Slurm itself (`--requeue`). At most `_ARRAY` ranks are in the
queue at once. The jobs load datatrove's own pickle from the run's scratch directory.
Source: https://slurm.schedmd.com/job_array.html
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]
from datatrove.executor.slurm import SlurmPipelineExecutor

from pipeline.errors import InputError, StageError
from pipeline.executors import SlurmExecutor
from pipeline.shard_pass import ShardPass
from pipeline.shard_step import ShardStep

log = logging.getLogger("primer")

_ARRAY = 1_000  # ranks in one array; Slurm's MaxArraySize is 1001 unless an administrator says so
_POLL_S = 2.0
_SILENT_S = 600.0  # for how long the controller may not answer (it may be restarted)
_LEAVING_S = 120.0  # for how long cancelled jobs may take to leave the queue
_SETTLING_S = 10.0  # for how long a network file system may hide a mark that a node has made

# Reasons for which a job waits until a person or a changed request releases it.
_HOPELESS = (
    "BadConstraints", "DependencyNeverSatisfied", "JobHeldAdmin", "PartitionConfig",
    "PartitionDown", "PartitionInactive", "PartitionNodeLimit", "PartitionTimeLimit",
    "launch failed requeued held",
)  # fmt: skip


class OnSlurm(SlurmPipelineExecutor):  # type: ignore[misc]  # datatrove has no types
    """datatrove's executor as a job sees it; an option that is null is left out of the script."""

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        given = super().get_sbatch_args(max_array)
        return {name: value for name, value in given.items() if value is not None}


def run_on_slurm(shards: ShardPass, settings: SlurmExecutor) -> None:
    """Do the ranks that are not done yet, `workers` at a time; StageError where some fail."""
    name = f"primer-{hashlib.sha256(str(shards.home).encode()).hexdigest()[:12]}"
    queue = _Queue(shards.stage, name)
    executor = _executor(shards, settings, name)
    queue.clear()
    try:
        while ranks := executor.get_incomplete_ranks()[:_ARRAY]:
            _submit(shards.progress, executor, ranks, queue)
            queue.wait()
            _check_done(shards, executor, ranks)
    except BaseException:  # Ctrl-C too
        queue.cancel()
        raise


def _executor(shards: ShardPass, settings: SlurmExecutor, name: str) -> OnSlurm:
    memory = settings.mem_per_cpu_gb
    python = shlex.quote(str(Path(sys.executable).parent))
    return OnSlurm(
        [ShardStep(shards)],
        tasks=shards.tasks,
        time=settings.time,
        partition=settings.partition,
        cpus_per_task=settings.cpus_per_task,
        workers=shards.workers,
        job_name=name,
        qos=None,
        env_command=settings.env_command or f"export PATH={python}:$PATH",
        sbatch_args={
            "mem-per-cpu": None if memory is None else f"{round(memory * 1024)}M",
            **settings.sbatch_args,
        },
        logging_dir=str(shards.progress),
        max_array_size=_ARRAY,
        requeue_signals=None,
    )


def _submit(home: Path, executor: OnSlurm, ranks: list[int], queue: _Queue) -> None:
    """One array whose n-th job does the n-th of these ranks; datatrove's files, its script."""
    home.mkdir(exist_ok=True)
    pickled = home / "executor.pik"
    with pickled.open("wb") as file:
        dill.dump(deepcopy(executor), file, fmode=dill.CONTENTS_FMODE)
    (home / "ranks_to_run.json").write_text(json.dumps(ranks))
    options = executor.get_sbatch_args(len(ranks))
    command = f"launch_pickled_pipeline {shlex.quote(str(pickled))}"
    queue.ask("sbatch", "--export=ALL", given=executor.get_launch_file_contents(options, command))


def _check_done(shards: ShardPass, executor: OnSlurm, ranks: list[int]) -> None:
    """Raises StageError that names the ranks of an array which left no mark, and one's last words.

    A mark may show late on a network file system."""
    deadline = time.monotonic() + _SETTLING_S
    while missing := executor.get_incomplete_ranks(ranks):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    if not missing:
        return
    logs = Path(executor.slurm_logs_folder).glob(f"*_{ranks.index(missing[0])}.out")
    path = max(logs, key=lambda log: log.stat().st_mtime, default=shards.log_of(missing[0]))
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    said = [line.strip() for line in lines if line.strip()] or ["it wrote no log"]
    which = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    raise StageError(
        shards.stage,
        f"{len(missing)} of {shards.tasks} shards failed under Slurm ({which}); "
        f"shard {missing[0]} ended with: {said[-1]}",
        f"see {path}, then run the same command again: finished shards are kept",
    )


class _Queue:
    """The jobs of one name in Slurm's queue."""

    def __init__(self, stage: str, name: str) -> None:
        self.stage, self.name = stage, name

    def ask(self, *command: str, given: str | None = None) -> str:
        """What a command of Slurm prints; StageError with its own message where it fails."""
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, text=True, check=False, timeout=120
            )
        except FileNotFoundError as error:
            raise InputError(
                self.stage,
                f"executor: slurm needs {command[0]}, which is not on PATH",
                "run on a machine that submits to Slurm",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise StageError(
                self.stage, f"{command[0]} gave no answer in 120 s", "look at the controller"
            ) from error
        if done.returncode != 0:
            said = [line for line in done.stderr.split("\n") if line.strip()] or ["no message"]
            raise StageError(
                self.stage, said[0].strip(), "correct executor in the recipe, or ask sinfo why"
            )
        return done.stdout

    def states(self) -> list[tuple[str, str]]:
        """(state, reason) of every job of this name that has not ended, one per rank."""
        lines = self.ask(
            "squeue", "--me", "--noheader", "--array", f"--name={self.name}", "--format=%T|%r"
        ).splitlines()
        return [(state, reason) for state, _, reason in (line.partition("|") for line in lines)]

    def wait(self) -> None:
        """Return when no job is left; StageError where those left can never start."""
        heard, told = time.monotonic(), ""
        while True:
            try:
                states, heard = self.states(), time.monotonic()
            except StageError:
                if time.monotonic() - heard > _SILENT_S:
                    raise
            else:
                if not states:
                    return
                told = self._tell(states, told)
            time.sleep(_POLL_S)

    def _tell(self, states: list[tuple[str, str]], told: str) -> str:
        """Log once why nothing runs; StageError where it never will. Returns the reason.

        The first look may come before Slurm has looked, so only what stands at two counts.
        """
        reasons = {reason for state, reason in states if state == "PENDING"}
        if any(state != "PENDING" for state, _ in states):
            return ""
        reason = ", ".join(sorted(reasons))
        if reason == told and all(any(word in r for word in _HOPELESS) for r in reasons):
            raise StageError(
                self.stage,
                f"Slurm does not start the {len(states)} jobs that are left ({reason})",
                "correct executor in the recipe, or what holds them on the cluster's side",
            )
        if reason not in ("", "None", told):
            log.info("%s: %d jobs wait in Slurm's queue (%s)", self.stage, len(states), reason)
        return reason

    def cancel(self) -> None:
        """Ask for the end of every job of this name; nothing more can be done if that fails."""
        subprocess.run(
            ["scancel", f"--name={self.name}"], capture_output=True, check=False, timeout=60
        )

    def clear(self) -> None:
        """Cancel what a killed driver has left, and wait until it is gone."""
        deadline = time.monotonic() + _LEAVING_S
        while left := self.states():
            if time.monotonic() > deadline:
                raise StageError(
                    self.stage,
                    f"{len(left)} jobs {self.name!r} of an earlier try do not leave the queue",
                    "scancel them",
                )
            self.cancel()
            time.sleep(_POLL_S)
