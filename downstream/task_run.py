"""The process in which tasks are scored: one model, loaded once, through the harness.

    python -m downstream.task_run ORDER.json

It writes two files for each task, and tells on standard output, in JSON lines, how far it is; see
`downstream.tasks`, which starts it. `lm_eval.evaluator.evaluate` is the part of `simple_evaluate`
that scores; the rest of that asks the machine for its environment, seconds for each task.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from downstream.harness_model import open_lm
from downstream.task_config import TaskConfig, TasksConfig
from downstream.task_definitions import DEFINITIONS, LocalTask, load_task
from downstream.task_items import ITEM, items_of, name_of
from pipeline.errors import StageError
from pipeline.records import write_table

_BEAT_S = 1.0
Tell = Callable[..., None]


def run(order: dict[str, Any], tell: Tell) -> None:
    """Score the ordered tasks; a task's files are whole when they appear."""
    config = TasksConfig(**order["config"])
    scratch, model = Path(order["scratch"]), Path(order["model"])
    with open_lm(model, config.context_tokens, config.seed, order["threads"]) as lm:
        for name, index in order["pending"].items():
            task = config.tasks[index]
            tell(task=task.name)
            rows, items = _score(lm, task, config, scratch / name, order, tell)
            write_table(scratch / f"{name}.parquet", items, ITEM)
            done = scratch / f"{name}.writing"
            done.write_text(json.dumps(rows))
            done.rename(scratch / f"{name}.json")


def _score(
    lm: Any, task: TaskConfig, config: TasksConfig, folder: Path, order: dict[str, Any], tell: Tell
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from lm_eval.evaluator import evaluate

    from downstream.generated_code import opened_judge
    from downstream.remembered_lm import RememberedLM

    memory = RememberedLM(
        lm, Path(order["memory"]), order["model_key"], config.seed, lambda n: tell(done=n)
    )
    program = DEFINITIONS[task.name].program
    with closing(memory), opened_judge(program, config.sandbox, order["threads"]) as judge:
        loaded = load_task(task, config.seed, folder, memory.too_long, judge, _seldom(tell))
        chosen = _chosen(len(loaded.eval_docs), task.limit, config.seed)
        told = evaluate(
            lm=memory, task_dict={"tasks": {task.name: loaded}}, bootstrap_iters=1_000,
            samples=None if chosen is None else {task.name: chosen},
        )  # fmt: skip
    shots = int(loaded.config.num_fewshot)
    items = items_of(
        task.name, shots, told["samples"][task.name], memory.too_long, lm.max_length,
        judge.problems if judge else {},
    )  # fmt: skip
    return _rows(told["results"][task.name], loaded, shots, items), items


def _seldom(tell: Tell) -> Callable[[], None]:
    """Tell that it goes on, at most once in a while."""
    told = time.monotonic()

    def beat() -> None:
        nonlocal told
        if time.monotonic() - told > _BEAT_S:
            told = time.monotonic()
            tell(done=0)

    return beat


def _chosen(items: int, limit: int | None, seed: int) -> list[int] | None:
    """Which items are scored, in their order; the same for every model."""
    if limit is None or limit >= items:
        return None
    return sorted(random.Random(seed).sample(range(items), limit))  # noqa: S311


def _rows(
    results: dict[str, Any], task: LocalTask, shots: int, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each metric; without a value where no item fitted the context."""
    left_out = sum(item["reason"] is not None for item in items)
    rows = []
    for key in [key for key in results if "," in key and "_stderr," not in key]:
        metric, _, filter_name = key.partition(",")
        stderr = results[f"{metric}_stderr,{filter_name}"]
        rows.append(
            {
                "metric": name_of(metric, filter_name),
                "value": float(results[key]),
                "stderr": float(stderr) if isinstance(stderr, float) else None,
                "n": len(items) - left_out,
            }
        )
    if not rows:
        metric = DEFINITIONS[task.config.task].metric
        rows = [{"metric": metric, "value": None, "stderr": None, "n": 0}]
    return [{"task": task.config.task, **row, "shots": shots, "left_out": left_out} for row in rows]


def main(arguments: list[str]) -> int:
    """The command; what it tells goes to the standard output, all else to the standard error."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # lm-eval and its libraries print

    def tell(**what: Any) -> None:
        told.write(json.dumps(what) + "\n")
        told.flush()

    try:
        run(json.loads(Path(arguments[0]).read_text()), tell)
    except StageError as error:
        tell(error=[error.stage, error.problem, error.cure], exit_code=error.exit_code)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
