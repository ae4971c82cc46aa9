"""The evaluation's report for people: Markdown and a page, tables and two pictures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

_COLUMNS = {
    "arm": "arm", "type": "type", "bits_per_byte": "bits per byte",
    "lost_bits_per_byte": "lost to F16", "bits_per_byte_kept": "on text that is kept",
    "bits_per_byte_not_kept": "on other text", "prefill_tokens_per_s": "prefill tokens/s",
    "decode_tokens_per_s": "decode tokens/s", "decode_spread": "decode spread",
    "peak_mem_mib": "peak MiB", "file_mib": "file MiB", "verdict": "verdict",
}  # fmt: skip


def write_reports(
    folder: Path, arm: str, models: list[dict[str, Any]], about: dict[str, Any]
) -> None:
    """Write report.md, report.html, quality.png and speed.png for one arm, beside the others."""
    _plot(folder / "quality.png", models, "bits_per_byte", "bits per byte of held-out text")
    _plot(folder / "speed.png", models, "decode_tokens_per_s", "decoded tokens a second")
    facts = _facts(arm, about)
    rows = [[_cell(model[name]) for name in _COLUMNS] for model in models]
    (folder / "report.md").write_text(_markdown(arm, facts, rows))
    (folder / "report.html").write_text(_page(folder, arm, facts, rows))


def _facts(arm: str, about: dict[str, Any]) -> list[tuple[str, str]]:
    teacher = about["teacher"]
    settings = ", ".join(f"{name} {value}" for name, value in about["settings"].items())
    baselines = ", ".join(f"{name} {value}" for name, value in about["baselines"].items())
    return [
        ("Dataset", f"{about['dataset']}, fingerprint {about['dataset_fingerprint'][:16]}"),
        ("Labels by", str(teacher["annotator"])),
        ("Arm of this page", arm),
        ("Bits per byte of the same text by packers", baselines),
        ("llama.cpp", about["build"]),
        ("Settings", settings),
        (
            "How to read it",
            "Speeds are medians of rounds over all models on a machine that may have had "
            "neighbours. Peak memory is beyond the interpreter's own. A type on hold loses more "
            "than the recipe allows against F16 of its arm.",
        ),
    ]


def _markdown(arm: str, facts: list[tuple[str, str]], rows: list[list[str]]) -> str:
    head = f"| {' | '.join(_COLUMNS.values())} |\n|{'---|' * len(_COLUMNS)}"
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    told = "\n".join(f"- {name}: {value}" for name, value in facts)
    pictures = "![quality](quality.png)\n\n![speed](speed.png)"
    return f"# Evaluation of the arm {arm}\n\n{told}\n\n{head}\n{body}\n\n{pictures}\n"


def _page(folder: Path, arm: str, facts: list[tuple[str, str]], rows: list[list[str]]) -> str:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    pictures = [
        base64.b64encode((folder / name).read_bytes()).decode()
        for name in ("quality.png", "speed.png")
    ]
    return environment.get_template("report.html").render(
        arm=arm, facts=facts, columns=list(_COLUMNS.values()), rows=rows,
        pictures=pictures,
    )  # fmt: skip


def _cell(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    return str(value)


def _plot(path: Path, models: list[dict[str, Any]], name: str, title: str) -> None:
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(model["arm"] for model in models))
    types = list(dict.fromkeys(model["type"] for model in models))
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for i, arm in enumerate(arms):
        values = [model[name] for model in models if model["arm"] == arm]
        axes.bar([x + 0.8 * i / len(arms) for x in range(len(types))], values, 0.8 / len(arms),
                 label=arm)  # fmt: skip
    axes.set_xticks([x + 0.4 - 0.4 / len(arms) for x in range(len(types))], types)
    axes.set_title(title)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=110, metadata={"Software": None})
