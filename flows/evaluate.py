"""`primer evaluate PATH`: measure a model as a device would run it, and print what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from downstream.evaluate_config import EvaluateConfig
from downstream.evaluate_path import TYPES, evaluate_path
from downstream.results_schema import Results
from flows.show import open_console
from pipeline.errors import InputError


def evaluate_model(
    path: Path, texts: Sequence[Path], types: Sequence[str] | None, out: Path | None,
    profile: str | None, threads: int, repetitions: int,
) -> None:  # fmt: skip
    """Evaluate the model at `path` into `out` (default: NAME-evaluation here) and print a table."""
    target = out or Path(f"{path.resolve().stem}-evaluation")
    try:
        config = EvaluateConfig(threads=threads, repetitions=repetitions)
    except ValidationError as error:
        (wrong, *_) = error.errors()
        raise InputError(
            "evaluate", f"--{wrong['loc'][0]} is {wrong['input']}", wrong["msg"].lower()
        ) from error
    results = evaluate_path(path, target, config, texts, types or TYPES, profile)
    print_evaluation(open_console(), results, target)


def print_evaluation(console: Console, results: Results, target: Path) -> None:
    """The models, what is recommended for devices, the verdict, and where the report lies."""
    told = results.model_dump(mode="json")
    verdict = told["gate"]["verdict"] or "none: no quantized file with its F16"
    console.print(
        Group(
            _models(told["models"]), Text(), _devices(told), Text(),
            Text(f"verdict: {verdict}"), Text(f"report: {target / 'report.html'}"),
        )
    )  # fmt: skip


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
    return table


def _models(models: Sequence[dict[str, Any]]) -> Table:
    table = _table(
        models[0]["arm"], "type", "bits per byte", "KL to F16", "prefill tok/s", "decode tok/s",
        "spread", "peak MiB", "file MiB", "verdict",
    )  # fmt: skip
    for model in models:
        likeness = model["likeness"] or {}
        table.add_row(
            model["type"],
            _number(model["bits_per_byte"]),
            _number(likeness.get("kl_mean_nats")),
            f"{model['prefill_tokens_per_s']:,.0f}",
            f"{model['decode_tokens_per_s']:,.0f}",
            f"{model['decode_spread']:.0%}",
            f"{model['peak_mem_mib']:,.0f}",
            f"{model['file_mib']:,.1f}",
            model["verdict"] or "",
        )
    return table


def _devices(told: dict[str, Any]) -> Table:
    table = _table("devices, predicted", "device", "recommended", "tok/s", "bound by", "MiB")
    predicted = {(row["profile"], row["arm"], row["type"]): row for row in told["predictions"]}
    names = {device["name"]: device["device"] for device in told["profiles"]}
    for row in told["recommendations"]:
        found = predicted.get((row["profile"], row["arm"], row["type"]))
        if found is None:
            table.add_row(names[row["profile"]], "none: see the report", "", "", "")
            continue
        table.add_row(
            names[row["profile"]],
            row["type"],
            f"{found['decode_tokens_per_s']:,.0f}",
            found["bound"],
            f"{found['memory_mib']:,.0f}",
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
