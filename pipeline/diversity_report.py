"""How diverse the accepted texts are, beside the raw ones and human ones: files to read.

diversity.json has the figures, diversity.html shows them with plots, and `diversity_rows` gives the
card its table. All are the same bytes for the same texts and seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.diversity import HIGHER, MEASURES, compare_sets
from pipeline.diversity_plots import MEASURES_PNG, NEAREST_PNG, TOPICS_PNG, plot_diversity
from pipeline.near_meaning import TextEncoder

FILES = ("diversity.json", "diversity.html", MEASURES_PNG, NEAREST_PNG)  # and topics, if any
TITLES = {
    "distinct_1": "distinct words",
    "distinct_2": "distinct 2-grams",
    "distinct_3": "distinct 3-grams",
    "entropy_1_bits": "entropy of words, bits",
    "entropy_2_bits": "entropy of 2-grams, bits",
    "entropy_3_bits": "entropy of 3-grams, bits",
    "self_bleu_4": "self-BLEU-4",
    "compression_ratio": "compression ratio, deflate",
    "far_compression_ratio": "compression ratio, zstd",
    "near_duplicate_share_0.5": "near copies over 0.5",
    "near_duplicate_share_0.7": "near copies over 0.7",
    "near_duplicate_share_0.8": "near copies over 0.8",
    "vendi_score": "Vendi score",
    "topic_entropy": "topic entropy, of the greatest",
    "topic_coverage": "topics reached",
}


def write_diversity(
    directory: Path,
    sets: Mapping[str, Sequence[str]],
    seed: int,
    encoder: TextEncoder | None = None,
) -> dict[str, Any]:
    """Compare the sets, and write diversity.json, diversity.html and its plots.

    Returns what diversity.json holds: {"sets": {name: figures}, "sample", "vectors", "topics"}.
    """
    report = compare_sets(sets, seed, encoder)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "diversity.json").write_text(json.dumps(report, indent=1) + "\n")
    plot_diversity(directory, report)
    (directory / "diversity.html").write_text(render_diversity(report), encoding="utf-8")
    return report


def render_diversity(report: Mapping[str, Any]) -> str:
    """The page of a report."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return pages.get_template("diversity_report.html").render(
        report=report, titles=TITLES, plots=describe_plots(report),
        directions={m: "higher" if way == HIGHER else "lower" for m, way in MEASURES.items()},
    )  # fmt: skip


def diversity_rows(report: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """For each set, a row of the card: pieces, and the means on samples of equal size."""
    shown = ("distinct_2", "self_bleu_4", "compression_ratio", "vendi_score", "topic_coverage")
    rows = []
    for name, one in report["sets"].items():
        spreads = one["at_equal_size"]
        means = {m: spreads[m]["mean"] if spreads[m] else None for m in shown}
        kept = {"pieces": one["pieces"], "near_duplicate_share": one["near_duplicate_share"]}
        rows.append((name, {**kept, **means}))
    return rows


def describe_plots(report: Mapping[str, Any]) -> dict[str, str]:
    """What each plot shows, in words and figures, for those who do not see it."""
    sets = report["sets"]
    described = {
        MEASURES_PNG: "Bars of every measure for each set, with the least and most of "
        f"{report['sample']['draws']} draws; the table below has the figures. "
        + _told(sets, "distinct_2", "Distinct 2-grams")
        + _told(sets, "vendi_score", "Vendi score"),
        NEAREST_PNG: "Share of pieces by similarity to the nearest earlier piece. Over 0.7: "
        + ", ".join(
            f"{name} {_figure(one['near_duplicate_share']['0.7'])}" for name, one in sets.items()
        )
        + ".",
    }
    if report["topics"]:
        described[TOPICS_PNG] = (
            f"Share of {len(report['topics'])} topics in each set, the largest of "
            f"{report['reference']} first. Topics without a piece: "
            + ", ".join(
                f"{name} {sum(share == 0 for share in one['topics'])}"
                for name, one in sets.items()
                if one["topics"]
            )
            + "."
        )
    return described


def _told(sets: Mapping[str, Any], measure: str, title: str) -> str:
    spreads = {name: one["at_equal_size"][measure] for name, one in sets.items()}
    told = [f"{name} {_figure(s['mean'])}" for name, s in spreads.items() if s]
    return f"{title}: {', '.join(told) or 'undefined'}. "


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
