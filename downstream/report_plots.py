"""The pictures of an evaluation: quality, speed, latency of prompts, memory, and the trade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from downstream.pareto import plot_pareto

Models = Sequence[dict[str, Any]]


def plot_all(folder: Path, models: Models) -> dict[str, str]:
    """Draw what the models have figures for; returns file names with what they show."""
    cost = [model for model in models if model["arm"] == models[0]["arm"]]  # alike for all arms
    pictures: dict[str, tuple[str, Callable[[Path], bool]]] = {
        "pareto.png": (
            "Quality against speed and size; a line joins what nothing else beats.",
            lambda path: plot_pareto(path, models),
        ),
        "quality.png": (
            "Bits per byte of held-out text.",
            lambda path: _bars(path, models, "bits_per_byte", "bits per byte"),
        ),
        "speed.png": (
            "Decoded tokens a second; whiskers from the lowest to the highest repetition.",
            lambda path: _speed(path, cost),
        ),
        "prefill.png": ("Seconds to read a prompt.", lambda path: _prefill(path, cost)),
        "memory.png": ("Memory by part.", lambda path: _memory(path, cost)),
    }
    return {name: told for name, (told, draw) in pictures.items() if draw(folder / name)}


def _figure(width: float = 7, height: float = 3) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Any, path: Path) -> bool:
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True


def _bars(path: Path, models: Models, name: str, label: str) -> bool:
    if any(model[name] is None for model in models):
        return False
    arms = list(dict.fromkeys(model["arm"] for model in models))
    types = list(dict.fromkeys(model["type"] for model in models))
    figure, axes = _figure()
    for i, arm in enumerate(arms):
        own = {model["type"]: model[name] for model in models if model["arm"] == arm}
        places = [x + 0.8 * i / len(arms) for x, kind in enumerate(types) if kind in own]
        axes.bar(places, own.values(), 0.8 / len(arms), label=arm)
    axes.set_xticks([x + 0.4 - 0.4 / len(arms) for x in range(len(types))], types)
    axes.tick_params(axis="x", labelrotation=30)
    axes.set_ylabel(label)
    figure.legend(loc="outside right upper")
    return _save(figure, path)


def _speed(path: Path, models: Models) -> bool:
    figure, axes = _figure()
    depths = [point["depth_tokens"] for point in models[0]["decode"]]
    for i, depth in enumerate(depths):
        points = [model["decode"][i] for model in models]
        middle = [point["tokens_per_s"] for point in points]
        below = [p["tokens_per_s"] - p["lowest"] for p in points]
        above = [p["highest"] - p["tokens_per_s"] for p in points]
        places = [x + 0.8 * i / len(depths) for x in range(len(models))]
        axes.bar(
            places, middle, 0.8 / len(depths), label=f"after {depth}",
            yerr=[[max(0.0, v) for v in below], [max(0.0, v) for v in above]], capsize=2,
        )  # fmt: skip
    axes.set_xticks(range(len(models)), [model["type"] for model in models])
    axes.tick_params(axis="x", labelrotation=30)
    axes.set_ylabel("decoded tokens/s")
    figure.legend(loc="outside right upper")
    return _save(figure, path)


def _prefill(path: Path, models: Models) -> bool:
    figure, axes = _figure()
    for model in models:
        points = model["prefill"]
        axes.plot(
            [p["tokens"] for p in points], [p["seconds"] for p in points], ".-", label=model["type"]
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens of the prompt")
    axes.set_ylabel("seconds")
    figure.legend(loc="outside right upper")
    return _save(figure, path)


def _memory(path: Path, models: Models) -> bool:
    points = [
        (model["type"], point)
        for model in models
        for point in model["memory"]
        if point["kv_share"] is not None
    ]
    if not points:
        return False
    figure, axes = _figure()
    names = [f"{kind}\n{point['context_tokens']:,}" for kind, point in points]
    bottom = [0.0] * len(points)
    for part, label in (
        ("weights_mib", "weights"), ("kv_cache_mib", "KV cache"), ("rest_mib", "rest"),
    ):  # fmt: skip
        sizes = [point[part] for _, point in points]
        axes.bar(names, sizes, bottom=bottom, label=label)
        bottom = [a + b for a, b in zip(bottom, sizes, strict=True)]
    axes.set_ylabel("MiB")
    axes.tick_params(axis="x", labelsize=7)
    figure.legend(loc="outside right upper")
    return _save(figure, path)
