"""What a run counts while it works, in the form that Prometheus reads.

One set of names for whoever curates, labels, trains or shows. Counting is one addition under a
lock, done once a batch or a stage and never once a document; `prometheus_client` is imported at the
first count, so that nothing which only prints pays for it (50 ms).

Flows are short processes, so one that lives long has to show what they counted: where
`PROMETHEUS_MULTIPROC_DIR` names a directory, every process writes its counts into files there, and
whoever is asked adds them up. The files are named by process number, so containers must not share
the directory. Without the variable a process shows its own counts only.
Source: https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.environment import metrics_directory
from pipeline.errors import InputError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry, Counter, Gauge, Summary

TOKEN_KINDS = ("prompt", "completion", "trained")


def count_documents(stage: str, n: int, outcome: str = "kept") -> None:
    """Rows that a stage has accounted for: `kept`, `dropped` or `failed`, as its ledger says."""
    _metrics().documents.labels(stage, outcome).inc(n)


def count_progress(stage: str, n: int) -> None:
    """Steps of a stage's progress bar, of whatever it counts: what moves before anything seals."""
    _metrics().progress.labels(stage).inc(n)


def counted(stage: str, advance: Callable[..., None]) -> Callable[..., None]:
    """A progress bar's `advance` that counts what it moves by."""

    def count_and_advance(n: int = 1, note: str | None = None) -> None:
        if n > 0:  # a training that goes back takes steps back
            count_progress(stage, n)
        advance(n, note)

    return count_and_advance


def count_tokens(kind: str, n: int) -> None:
    """Tokens billed by a teacher (`prompt`, `completion`), or seen in training (`trained`)."""
    assert kind in TOKEN_KINDS, kind
    _metrics().tokens.labels(kind).inc(n)


def add_cost(currency: str, amount: float) -> None:
    """Money that answers cost; what came from the store was paid before and is not added."""
    _metrics().cost.labels(currency).inc(amount)


def queue_length(n: int) -> None:
    """Set how many LLM calls of this process wait or are in flight; 0 when the last has landed."""
    _metrics().queue.set(n)


def count_error(stage: str, kind: str) -> None:
    """A failure, by the class of its exception or by a short fixed word; never by its message."""
    _metrics().errors.labels(stage, kind).inc()


@contextmanager
def watched_stage(stage: str) -> Iterator[None]:
    """Count a stage as running; its seconds and the time of success at the end, or its error."""
    metrics, began = _metrics(), time.perf_counter()
    running = metrics.running.labels(stage)
    running.inc()
    try:
        yield
    except BaseException as error:
        count_error(stage, type(error).__name__)
        raise
    else:
        metrics.seconds.labels(stage).observe(time.perf_counter() - began)
        metrics.success.labels(stage).set_to_current_time()
    finally:
        running.dec()


def metrics_page() -> tuple[bytes, str]:
    """The metrics as Prometheus reads them, and the content type: what `/metrics` answers."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return generate_latest(_shown()), CONTENT_TYPE_LATEST


def serve_metrics(port: int, host: str = "127.0.0.1") -> WSGIServer:
    """Answer Prometheus on a thread that ends with the process; port 0 takes a free one.

    The server's `server_port` says which; `shutdown()` and `server_close()` end it before.
    Raises InputError where the port is taken.
    """
    from prometheus_client import start_http_server

    _metrics()
    try:
        server, _ = start_http_server(port, host, _Shown())  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(
            "metrics", f"port {port} of {host} cannot be listened on ({error})", "name another"
        ) from None
    return server


@dataclass(frozen=True)
class _Metrics:
    documents: Counter
    progress: Counter
    tokens: Counter
    cost: Counter
    errors: Counter
    queue: Gauge
    running: Gauge
    success: Gauge
    seconds: Summary


@functools.cache
def _registry() -> CollectorRegistry:
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


@functools.cache
def _metrics() -> _Metrics:
    folder = shared_folder()  # made before the library opens a file in it
    from prometheus_client import Counter, Gauge, Summary
    from prometheus_client.multiprocess import mark_process_dead

    if folder is not None:  # gauges of a killed process that had our number
        mark_process_dead(os.getpid(), str(folder))  # type: ignore[no-untyped-call]
    kept = _registry()
    return _Metrics(
        documents=Counter(
            "primer_documents", "Rows accounted for by sealed stages.", ["stage", "outcome"],
            registry=kept,
        ),
        progress=Counter(
            "primer_progress", "Steps of the stages' progress bars.", ["stage"], registry=kept
        ),
        tokens=Counter("primer_tokens", "Tokens billed or trained on.", ["kind"], registry=kept),
        cost=Counter("primer_cost", "Money spent on answers.", ["currency"], registry=kept),
        errors=Counter("primer_errors", "Failures.", ["stage", "kind"], registry=kept),
        queue=Gauge(
            "primer_llm_queue_length", "LLM calls that wait or are in flight.",
            registry=kept, multiprocess_mode="livesum",
        ),
        running=Gauge(
            "primer_stages_running", "Stages at work now.", ["stage"],
            registry=kept, multiprocess_mode="livesum",
        ),
        success=Gauge(
            "primer_last_success_timestamp_seconds", "When the stage was last sealed.", ["stage"],
            registry=kept, multiprocess_mode="max",
        ),
        seconds=Summary(
            "primer_stage_seconds", "How long sealing a stage took.", ["stage"], registry=kept
        ),
    )  # fmt: skip


class _Shown:
    """What a server shows: gathered anew each time it is asked."""

    def collect(self) -> Iterator[object]:
        return iter(list(_shown().collect()))


def _shown() -> CollectorRegistry:
    """This process's counts; with a shared directory those of all, the living and the dead."""
    _metrics()
    folder = shared_folder()
    if folder is None:
        return _registry()
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

    for file in folder.glob("gauge_live*_*.db"):  # a killed process cannot take back its gauges
        pid = int(file.stem.rpartition("_")[2])
        if not _is_alive(pid):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    together = CollectorRegistry()
    MultiProcessCollector(together, str(folder))  # type: ignore[no-untyped-call]
    return together


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def shared_folder() -> Path | None:
    """Where processes leave their counts for each other, made if it is not there.

    Raises InputError where it cannot be written.
    """
    folder = metrics_directory()
    if folder is None:
        # empty, it is off for us and would mean "here" to the library
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
        problem = "it is not writable"
    except OSError as error:
        problem = str(error)
    raise InputError(
        "environment",
        f"PROMETHEUS_MULTIPROC_DIR={str(folder)!r} cannot be used ({problem})",
        "name a directory that this process may write, or unset it",
    )
