"""Benchmark tasks: a model's scores, with standard errors, through the lm-evaluation-harness.

Everything is scored in a process of its own (`downstream.task_run`), offline: one that dies or
hangs is ended and named, and evaluation goes on or stops as its caller wishes. What it finished
stays: a task is not scored again, and within a task no request is asked again
(`downstream.remembered_lm`).

What it costs, and what the local files lack against the hub's: docs/quality.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from downstream.task_config import TaskConfig, TasksConfig
from downstream.task_items import ITEM, paired_difference
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.manifest import hash_file, hash_json
from pipeline.progress import progress_bar
from pipeline.records import read_rows, write_table

__all__ = ["TaskConfig", "TasksConfig", "paired_difference", "score_tasks"]

_VERSION = 1  # one more where the same model and files would give another result
_OFFLINE = {
    "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE",
}  # fmt: skip


def score_tasks(
    model: Path, config: TasksConfig, scratch: Path, threads: int
) -> list[dict[str, Any]]:
    """Score a GGUF file or a Hugging Face directory; one row for each task and metric.

    A row holds task, metric, value, stderr, n, shots, left_out (items longer than the context),
    model, model_key (hash), harness, file_sha256. `scratch` is for this model alone; it keeps what
    was finished, and `items.parquet` (task_items.ITEM) with what the model did on each item.
    """
    harness = f"lm-eval {version('lm-eval')}"
    model_key = hash_json([_VERSION, harness, _hash_model(model)])
    names = {_name(task, config, model_key): i for i, task in enumerate(config.tasks)}
    scratch.mkdir(parents=True, exist_ok=True)
    pending = {name: i for name, i in names.items() if not (scratch / f"{name}.json").exists()}
    if pending:
        order = {
            "model": str(model), "model_key": model_key, "threads": threads,
            "config": config.model_dump(mode="json"), "scratch": str(scratch),
            "memory": str(scratch / "answers.sqlite"), "pending": pending,
        }  # fmt: skip
        _run(order, scratch, threads, config.stall_seconds)
    files = [scratch / f"{name}.parquet" for name in names]
    write_table(scratch / "items.parquet", read_rows(files), ITEM)
    return [
        {
            **row,
            "model": model.name,
            "model_key": model_key,
            "harness": harness,
            "file_sha256": _hash_benchmark(Path(config.tasks[index].path)),
        }
        for name, index in names.items()
        for row in json.loads((scratch / f"{name}.json").read_text())
    ]


def _name(task: TaskConfig, config: TasksConfig, model_key: str) -> str:
    """A task's name among the files: another model, file or setting is another name."""
    paths = [task.path] + ([task.fewshot_path] if task.fewshot_path else [])
    told = [
        model_key, task.what(), [_hash_benchmark(Path(path)) for path in paths], config.seed,
        config.context_tokens, config.sandbox.what(),
    ]  # fmt: skip
    return f"{task.name}-{hash_json(told)[:12]}"


def _hash_benchmark(path: Path) -> str:
    if not path.is_file():
        raise InputError("evaluate", f"benchmark {path} is not there", "correct tasks.tasks")
    return hash_file(path)


def _hash_model(model: Path) -> str:
    if model.is_file():
        return hash_file(model)
    patterns = ("*.json", "*.safetensors", "*.model", "*.bin")
    files = sorted(path for pattern in patterns for path in model.glob(pattern))
    if not files:
        raise InputError(
            "evaluate", f"{model} is no model", "give a GGUF file or a Hugging Face directory"
        )
    return hash_json([(path.name, hash_file(path)) for path in files])


def _run(order: dict[str, Any], scratch: Path, threads: int, stall_seconds: float) -> None:
    """Start the process and follow it; StageError where it fails or tells nothing for too long."""
    written, log = scratch / "order.json", scratch / "tasks.log"
    written.write_text(json.dumps(order))
    environment = {**os.environ, **_OFFLINE, "OMP_NUM_THREADS": str(threads)}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "downstream.task_run", str(written)],
            stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            _follow(process, stall_seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):  # the sandbox's helpers belong to it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise StageError(
            "evaluate",
            f"scoring {order['model']} ended with {process.returncode}: "
            f"{lines[-1][:300] if lines else 'no message'}",
            f"read {log}; the same command goes on from where it was",
        )


def _follow(process: subprocess.Popen[str], stall_seconds: float) -> None:
    doing = "loading the model"
    with progress_bar("evaluate: benchmark requests", None) as advance:
        for told in _told(process, stall_seconds):
            if told is None:
                raise StageError(
                    "evaluate", f"nothing was answered for {stall_seconds:g} s ({doing})",
                    "raise tasks.stall_seconds, or lower the tasks' limit; what was answered stays",
                )  # fmt: skip
            if "error" in told:
                kinds = {1: StageError, 2: InputError, 3: StoppedError}
                raise kinds[told["exit_code"]](*told["error"])
            doing = told.get("task", doing)
            advance(told.get("done", 0), note=doing)
    process.wait()


def _told(process: subprocess.Popen[str], stall_seconds: float) -> Iterator[dict[str, Any] | None]:
    """What the process tells, as it does; None where it was silent for too long."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as told:
            for line in told:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=stall_seconds)
        except queue.Empty:
            yield None
            return
        if line is None:
            return
        yield json.loads(line)
