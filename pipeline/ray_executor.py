"""Work on the shards of a pass in tasks of a Ray cluster.

A rank's work, log, statistics and completion are datatrove's. How ranks are handed out is not:
datatrove 0.10.1 reserves a placement group per rank and waits for ever where no node is large
enough, where a node dies between reservation and start, and where the kernel kills the process
that the rank was forked into. Here a rank is a plain Ray task. If its node or process dies it is
handed out again, and starts from its beginning; if its own code fails, nothing more is handed out,
what runs is let finish, and the stage fails.

The driver is a node of the cluster (Ray asks for that), and joins only the cluster that the recipe
names: `RAY_ADDRESS` is not looked at. A cluster of this machine alone has a token, as Ray will have
it; where the recipe names an address, whether to show a token is the user's word (RAY_AUTH_MODE).
Source: https://docs.ray.io/en/latest/ray-core/fault_tolerance/tasks.html
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import InputError, StageError
from pipeline.executors import RayExecutor
from pipeline.shard_pass import ShardPass
from pipeline.shard_step import executor_of, run_rank

log = logging.getLogger("primer")

_ATTEMPTS = 5  # of one rank; each but the first follows the death of a node or a process
_WAIT_S = 2.0  # between looks at whether any node is still large enough
_NODES_LOST_S = 120.0  # for how long none may be, before the stage fails

# Defaults only: what a user has set stays.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the behaviour to come, which it else warns of
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would upload the working directory
}


def run_on_ray(shards: ShardPass, settings: RayExecutor) -> None:
    """Do the ranks that are not done yet, `workers` at a time; StageError where one fails."""
    with _joined(shards.stage, settings) as ray:
        room = {"CPU": float(settings.cpus_per_task)}
        if settings.mem_per_cpu_gb:
            room["memory"] = settings.mem_per_cpu_gb * settings.cpus_per_task * 2**30
        _check_room(ray, shards.stage, room)
        task = ray.remote(
            num_cpus=settings.cpus_per_task, memory=room.get("memory"), max_retries=0,
            scheduling_strategy="SPREAD",
        )(run_rank)  # fmt: skip
        _hand_out(ray, shards, task, room)


def _hand_out(ray: Any, shards: ShardPass, task: Any, room: dict[str, float]) -> None:
    """Keep `workers` ranks running until all are done, or one has failed for good."""
    executor = executor_of(shards)
    shared = ray.put(executor)
    waiting = deque((rank, 1) for rank in executor.get_incomplete_ranks())
    running: dict[Any, tuple[int, int]] = {}
    failure: StageError | None = None
    seen_room = time.monotonic()
    while running or (waiting and failure is None):
        while waiting and len(running) < shards.workers and failure is None:
            rank, attempt = waiting.popleft()
            running[task.remote(shared, rank)] = rank, attempt
        for reference in ray.wait(list(running), timeout=_WAIT_S)[0]:
            rank, attempt = running.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                failure = _failure(shards, rank, error.cause)
            except ray.exceptions.RayError as death:
                log.info("%s: shard %d lost (%s)", shards.stage, rank, type(death).__name__)
                if attempt == _ATTEMPTS:
                    failure = _failure(shards, rank, death, f" {attempt} times")
                else:
                    waiting.append((rank, attempt + 1))
        if _has_room(ray, room):
            seen_room = time.monotonic()
        elif time.monotonic() - seen_room > _NODES_LOST_S:
            _check_room(ray, shards.stage, room)
    if failure is not None:
        raise failure


def _failure(shards: ShardPass, rank: int, cause: BaseException, often: str = "") -> StageError:
    if isinstance(cause, StageError):
        return cause
    what = str(cause).strip().splitlines() or [""]
    return StageError(
        shards.stage,
        f"shard {rank} failed under Ray{often} ({type(cause).__name__}: {what[0]})",
        f"see {shards.log_of(rank)}, then run the same command again: finished shards are kept",
    )


def _has_room(ray: Any, room: dict[str, float]) -> bool:
    """Whether a living node could ever take one rank."""
    return any(
        node["Alive"] and all(node["Resources"].get(k, 0) >= room[k] for k in room)
        for node in ray.nodes()
    )


def _check_room(ray: Any, stage: str, room: dict[str, float]) -> None:
    if not _has_room(ray, room):
        wanted = f"{room['CPU']:g} CPUs"
        if "memory" in room:
            wanted += f" and {room['memory'] / 2**30:g} GiB"
        raise StageError(
            stage,
            f"no living node of the Ray cluster has {wanted} for one shard",
            "lower executor.cpus_per_task and mem_per_cpu_gb, or add such a node",
        )


@contextmanager
def _joined(stage: str, settings: RayExecutor) -> Iterator[Any]:
    """The `ray` module, connected to the cluster of the recipe, or to a new one of its own."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            stage, "executor: ray needs the package ray", "uv pip install 'primer[ray]'"
        ) from error
    if ray.is_initialized():
        raise StageError(
            stage, "this process is connected to a Ray cluster already", "call ray.shutdown() first"
        )
    address = settings.address or "local"
    _check_answers(stage, address)
    alone = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise StageError(
            stage,
            f"executor.address {address!r}: {str(error).strip().splitlines()[0]}",
            "start Ray on this machine: ray start --head, or ray start --address=HOST:PORT; "
            "where the cluster asks for a token: export RAY_AUTH_MODE=token, on every node too",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(stage: str, address: str) -> None:
    """Ray itself asks an address that nobody listens at for a minute."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise StageError(
            stage,
            f"executor.address {address!r}: no Ray cluster answers there ({error})",
            "start one: ray start --head --port=6379",
        ) from error
