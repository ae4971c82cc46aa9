"""What a model did on each item of each task, and how two models differ on the same items.

Two models that answer the same questions are compared by the differences of their items: what makes
a question hard for both cancels, and the standard error falls (Miller, arXiv 2411.00640, section
4). Items that either model could not read whole are left out of both, and counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

Item = Mapping[str, Any]

ITEM = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("shots", pa.int64(), nullable=False),
        pa.field("item", pa.int64(), nullable=False),  # its row in the file, from 0
        pa.field(
            "scores",  # by each metric; empty for an item that was left out
            pa.list_(pa.struct([("metric", pa.string()), ("value", pa.float64())])),
            nullable=False,
        ),
        pa.field("log_likelihoods", pa.list_(pa.float64()), nullable=False),  # of choices, nats
        pa.field("answers", pa.list_(pa.string()), nullable=False),  # that were generated
        pa.field("problems", pa.list_(pa.string()), nullable=False),  # of programs; null: passed
        pa.field("gold", pa.string(), nullable=False),
        pa.field("reason", pa.string()),  # why it was left out
    ]
)


def items_of(
    task: str, shots: int, samples: Iterable[Mapping[str, Any]], left_out: Mapping[int, int],
    context_tokens: int, problems: Mapping[int, list[str | None]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of ITEM from the samples that lm-eval logs: one for each item and filter there."""
    items: dict[int, dict[str, Any]] = {}
    for sample in samples:
        number = sample["doc"]["item"]
        item = items.setdefault(number, _item(task, shots, number, sample))
        item["scores"] += [
            {"metric": name_of(metric, sample["filter"]), "value": float(sample[metric])}
            for metric in sample["metrics"]
        ]
        item["problems"] = problems.get(number, [])
        if number in left_out:
            tokens = left_out[number]
            item["reason"] = f"needs {tokens} tokens, the context has {context_tokens}"
            item["log_likelihoods"], item["answers"] = [], []
    return list(items.values())


def name_of(metric: str, filter_name: str) -> str:
    """A metric's name, with the filter that read the answer where there are several."""
    return metric if filter_name == "none" else f"{metric}/{filter_name}"


def _item(task: str, shots: int, number: int, sample: Mapping[str, Any]) -> dict[str, Any]:
    told = [one for request in sample["resps"] for one in request]
    is_text = isinstance(told[0], str)
    return {
        "task": task,
        "shots": shots,
        "item": number,
        "scores": [],
        "log_likelihoods": [] if is_text else [float(one[0]) for one in told],
        "answers": told if is_text else [],
        "problems": [],
        "gold": str(sample["target"]),
        "reason": None,
    }


def paired_difference(items_a: Iterable[Item], items_b: Iterable[Item]) -> list[dict[str, Any]]:
    """For each task, shots and metric: A minus B over the items of both, with a standard error.

    `left_out` counts the items that only one of them answered. The error is null for one item.
    """
    ours, theirs = _scores(items_a), _scores(items_b)
    found = []
    for key in sorted(ours.keys() & theirs.keys()):
        one, other = ours[key], theirs[key]
        both = sorted(one.keys() & other.keys())
        task, shots, metric = key
        differences = [one[item] - other[item] for item in both]
        found.append(
            {
                "task": task,
                "shots": shots,
                "metric": metric,
                "difference": sum(differences) / len(both) if both else None,
                "stderr": _stderr(differences),
                "n": len(both),
                "left_out": len(one.keys() | other.keys()) - len(both),
            }
        )
    return found


def _scores(items: Iterable[Item]) -> dict[tuple[str, int, str], dict[int, float]]:
    found: dict[tuple[str, int, str], dict[int, float]] = defaultdict(dict)
    for item in items:
        for score in item["scores"]:
            key = (item["task"], item["shots"], score["metric"])
            found[key][item["item"]] = score["value"]
    return found


def _stderr(values: list[float]) -> float | None:
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
