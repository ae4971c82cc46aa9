"""What every arm is made of, for people: mixture.md and mixture.png, from the stage's own facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.mixed_stage import MixedStage
from pipeline.mixture import StageName
from pipeline.token_store import Ints, TokenStore


def arm_facts(
    store: TokenStore, there: Ints, stages: Mapping[StageName, MixedStage]
) -> dict[str, Any]:
    """Tokens, documents and epochs of an arm, as a whole and by source, kind and origin."""
    cells, total = store.cells, sum(sum(stage.by_cell) for stage in stages.values())
    facts: dict[str, Any] = {"tokens": total, "epochs": round(total / int(there.sum()), 3)}
    for name, stage in stages.items():
        facts[f"{name}_tokens"] = sum(stage.by_cell)
        facts[f"{name}_synthetic_tokens"] = sum(
            tokens for cell, tokens in zip(cells, stage.by_cell, strict=True) if cell.synthetic
        )
    rows = np.concatenate([stage.rows for stage in stages.values()])
    facts["documents"] = len(np.unique(rows))
    facts["mixture"] = [
        {**cell._asdict(), "there": int(there[i]), "base": stages["base"].by_cell[i],
         "anneal": stages["anneal"].by_cell[i],
         "epochs": round(sum(s.by_cell[i] for s in stages.values()) / int(there[i]), 3)}
        for i, cell in enumerate(cells)
        if there[i]
    ]  # fmt: skip
    return facts


def write_mixture(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write mixture.md and mixture.png."""
    (folder / "mixture.md").write_text(_page(facts))
    _plot(folder / "mixture.png", facts["arms"])


def _page(facts: Mapping[str, Any]) -> str:
    budget = facts["budget"]
    over = budget["times_chinchilla"]
    told = f", {over:g} times Chinchilla's" if over else ""
    lines = [
        "# What the arms are made of", "",
        f"Every arm has {budget['tokens']} tokens ({budget['reason']}{told}), of which the last "
        f"{facts['anneal_share']:.0%} are `anneal`. The tokenizer is {facts['tokenizer']} and has "
        f"{facts['vocabulary']} tokens; {facts['end_of_text_token']!r} ends every document.",
        "", "![the mixture](mixture.png)", "",
        "| arm | source | kind | origin | tokens there | base | anneal | epochs |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, arm in facts["arms"].items():
        lines += [
            f"| {name} | {c['source']} | {c['kind']} | "
            f"{'synthetic' if c['synthetic'] else 'human'} | {c['there']} | "
            f"{_part(c['base'], arm['base_tokens'])} | {_part(c['anneal'], arm['anneal_tokens'])}"
            f" | {c['epochs']:.2f} |"
            for c in arm["mixture"]
        ]
        lines.append(
            f"| **{name}** | all | | | {sum(c['there'] for c in arm['mixture'])} | "
            f"{arm['base_tokens']} | {arm['anneal_tokens']} | {arm['epochs']:.2f} |"
        )
    lines += ["", "## Fertility", ""]
    lines += ["| of | bytes | bytes per token | tokens per word |", "|---|---:|---:|---:|"]
    for part in ("by_kind", "by_source"):
        for name, row in facts["fertility"][part].items():
            figures = f"{_figure(row, 'bytes_per_token')} | {_figure(row, 'tokens_per_word')}"
            lines.append(f"| {part.removeprefix('by_')} {name} | {row['bytes']} | {figures} |")
    return "\n".join(lines) + "\n"


def _part(tokens: int, whole: int) -> str:
    return f"{tokens} ({tokens / whole:.1%})"


def _figure(row: Mapping[str, Any], name: str) -> str:
    return "unknown" if row[name] is None else f"{row[name]:.3f}"


def _plot(path: Path, arms: Mapping[str, Any]) -> None:
    """A bar for each stage of each arm, cut by source, kind and origin."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    bars = [(f"{arm}, {stage}", arm, stage) for arm in arms for stage in ("base", "anneal")]
    names = sorted({_name(cell) for arm in arms.values() for cell in arm["mixture"]})
    colours = colormaps["tab20"](np.arange(len(names)) % 20)
    figure = Figure(figsize=(8, 0.4 * len(bars) + 0.2 * len(names) + 1), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(bars))
    for name, colour in zip(names, colours, strict=True):
        widths = np.array([
            sum(cell[stage] for cell in arms[arm]["mixture"] if _name(cell) == name)
            / arms[arm][f"{stage}_tokens"]
            for _, arm, stage in bars
        ])  # fmt: skip
        axes.barh([told for told, _, _ in bars], widths, left=left, label=name, color=colour)
        left += widths
    axes.invert_yaxis()
    axes.set(xlabel="share of the stage's tokens", xlim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _name(cell: Mapping[str, Any]) -> str:
    return f"{cell['source']}, {cell['kind']}{', synthetic' * cell['synthetic']}"
