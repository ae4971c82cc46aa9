"""The text of the card: the head, and a body of tables and sentences made from what is told.

The template is `card_template.md`; text of the corpus never enters it, and names that do are
escaped (`pipeline.card_tables`). The same facts give the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import card_changes as changes
from pipeline import card_facts as facts
from pipeline import card_words as words
from pipeline.card_data import DEFAULT_CONFIG
from pipeline.card_facts import Row, Told
from pipeline.card_head import make_head
from pipeline.card_plots import CURVE
from pipeline.card_tables import Code, figure, plain, table
from pipeline.diversity_report import diversity_rows
from pipeline.drift_report import PICTURE
from pipeline.errors import StageError

_TEMPLATE = Path(__file__).parent / "card_template.md"


def render_card(told: Told) -> str:
    """README.md. Raises StageError where its head does not come back as it was written."""
    from huggingface_hub import DatasetCard, DatasetCardData
    from jinja2 import Environment, StrictUndefined

    head = make_head(told)
    environment = Environment(  # noqa: S701  # Markdown, escaped by `plain` and `table`
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"figure": figure, "plain": plain, "table": _table}
    body = environment.from_string(_TEMPLATE.read_text()).render(_body(told))
    text = f"---\n{DatasetCardData(**head).to_yaml()}\n---\n\n{body}"
    read: Any = DatasetCard(text).data
    if read.to_dict() != head:
        raise StageError(
            "card", "huggingface_hub reads another head than was written", "report this bug"
        )
    return text


def _table(rows: list[Row], head: str) -> str:
    return table(head, rows)


def _body(told: Told) -> dict[str, Any]:
    stage = told.facts
    return {
        "title": told.config.title,
        "summary": told.config.summary,
        "default_config": DEFAULT_CONFIG,
        "licence": told.config.licence,
        "words": _sentences(told),
        "parts": facts.parts_table(told),
        "journey": facts.journey(told),
        "sources": facts.sources_table(told),
        "clean": stage["clean"],
        "label": stage["label"],
        "annotators": facts.annotators(told),
        "prices_as_of": told.teacher["prices"]["as_of"],
        "filter": stage["train-filter"],
        "agreement": _agreement(told),
        "baselines": _baselines(told),
        "curve_pictured": CURVE in told.needs["train-filter"].manifest.files,
        "drift_pictured": PICTURE in told.needs["apply-filter"].manifest.files,
        "curve": facts.threshold_curve(told),
        "applied": stage["apply-filter"],
        "drift": facts.drift(told),
        "drift_rows": facts.drift_table(facts.drift(told) or {"strata": []}),
        "synthetic": stage["synthesize"],
        "exercises": facts.exercises(told),
        "diversity": _diversity(told),
        "pieces": facts.pieces(told),
        "benchmarks": [(*row[:-1], Code(row[-1])) for row in facts.benchmarks(told)],
        "contamination": stage["decontaminate"],
        "tokens": stage["tokenize"],
        "arms": facts.arms(told),
        "licences": facts.licences(told),
        "spend": facts.spend(told),
        "fingerprints": [
            (name, Code(made), Code(outputs), seed, commit)
            for name, made, outputs, seed, commit in facts.fingerprints(told)
        ],
        "changes": told.changes,
        "changed": _changed(told) if told.changes["parent"] else {},
    }


def _changed(told: Told) -> dict[str, list[Row]]:
    return {
        "stages": changes.changed_stages(told.changes),
        "drift": changes.changed_drift(told.changes),
        "contamination": changes.changed_contamination(told.changes),
        "arms": changes.changed_arms(told.changes),
        "licences": changes.changed_licences(told.changes),
    }


def _sentences(told: Told) -> dict[str, Any]:
    return {
        "collection": plain(words.collection(told)),
        "privacy": words.privacy(told),
        "uses": words.uses(told),
        "biases": words.biases(told),
        "limits": words.limitations(told),
    }


def _agreement(told: Told) -> list[Row]:
    return [
        (*p["annotators"], p["n"], p["kappa"],
         "{:.3f} to {:.3f}".format(*p["interval"]) if p["interval"] else None,
         p["exact"], p["within_one"], p["bias"])
        for p in told.facts["label"]["agreement"]["pairs"]
    ]  # fmt: skip


def _baselines(told: Told) -> list[Row]:
    found = told.facts["train-filter"].get("baselines", {})
    return [(n, b.get("precision"), b.get("recall"), b.get("pr_auc")) for n, b in found.items()]


def _diversity(told: Told) -> list[Row]:
    return [
        (name, row["pieces"], row["distinct_2"], row["self_bleu_4"], row["compression_ratio"],
         row["vendi_score"], row["topic_coverage"], row["near_duplicate_share"]["0.7"])
        for name, row in diversity_rows(told.read("synthesize", "diversity.json"))
    ]  # fmt: skip
