"""Stage 9: the dataset card, from the manifests of all stages before it and from nothing else.

Hugging Face's form (YAML head, Markdown body), made and read back with huggingface_hub; Croissant
and PROV beside it for machines; samples to read and plots to look at. The head is checked against a
schema of our own, because the hub's validation needs the hub and lets bad fields pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from pydantic import Field

from pipeline.arms import ARMS
from pipeline.card_plots import plot_card
from pipeline.config import Section
from pipeline.croissant import write_croissant
from pipeline.diversity_report import diversity_rows
from pipeline.drift_report import PICTURE
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.lineage import write_prov
from pipeline.records import read_batches, read_rows
from pipeline.splits import place_of
from pipeline.stage import Outcome, Sealed, Stage, Workplace

_HEAD_SCHEMA = {
    "type": "object",
    "properties": {
        "license": {"type": "string", "minLength": 1},
        "license_name": {"type": "string", "minLength": 1},
        "pretty_name": {"type": "string", "minLength": 1},
        "language": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{2,3}$"}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "task_categories": {"const": ["text-generation"]},
        "size_categories": {
            "type": "array",
            "items": {"pattern": "^(n<1K|1K<n|10K<n|100K<n|1M<n)"},
        },
        "configs": {
            "type": "array",
            "minItems": 1,
            "items": {"required": ["config_name", "data_files"]},
        },
    },
    "required": ["pretty_name", "size_categories", "configs", "tags", "license"],
    "additionalProperties": False,
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


class CardConfig(Section):
    """What the manifests cannot know."""

    title: str = Field(
        "A corpus curated by Primer", min_length=3, description="The dataset's name for people."
    )
    summary: str = Field(
        "Web text and code, filtered for educational value, with synthetic textbooks.",
        min_length=10,
        description="One sentence on what it is.",
    )
    licence: str | None = Field(
        None, description="Licence of the whole, as the hub spells it; null if it is not known."
    )
    samples: int = Field(10, ge=1, le=1_000, description="Documents of each arm to read.")
    sample_chars: int = Field(
        1_500, ge=100, le=100_000, description="Characters of a sample at most."
    )


def card(place: Workplace) -> Outcome:
    """Write README.md, croissant.json, prov.json, samples and plots."""
    config, needs = place.section(CardConfig), place.needs
    with place.bar("writing", 4) as advance:
        plot_card(place.out / "plots", needs)
        _copy_drift_plot(place.out / "plots", needs["apply-filter"])
        picture = needs["clean"].file("waterfall.png").read_bytes()
        (place.out / "plots" / "cleaning.png").write_bytes(picture)
        advance()
        rows = _write_samples(place.out / "samples", needs, config, place.seed)
        advance()
        arms = needs["decontaminate"]
        croissant = write_croissant(config.title, config.summary, config.licence, arms)
        _write_json(place.out / "croissant.json", croissant)
        _write_json(place.out / "prov.json", write_prov(needs))
        advance()
        (place.out / "README.md").write_text(render_card(needs, config))
        advance()
    return Outcome(Ledger("samples", rows, rows), {"title": config.title})


def _copy_drift_plot(folder: Path, applied: Sealed) -> None:
    if PICTURE in applied.manifest.files:
        (folder / PICTURE).write_bytes(applied.file(PICTURE).read_bytes())


def render_card(needs: Mapping[str, Sealed], config: CardConfig) -> str:
    """The card's text. Raises StageError where its head does not fit the schema."""
    from huggingface_hub import DatasetCard, DatasetCardData
    from jinja2 import Environment, StrictUndefined
    from jsonschema import Draft202012Validator

    head = _head(needs, config)
    fault = next(Draft202012Validator(_HEAD_SCHEMA).iter_errors(head), None)
    if fault:
        raise StageError(
            "card", f"the card's head is wrong: {fault.message}", "correct the section card"
        )
    environment = Environment(  # noqa: S701  # Markdown; text of the corpus never enters it
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["figure"] = _figure
    template = (Path(__file__).parent / "card_template.md").read_text()
    body = environment.from_string(template).render(_body(needs, config))
    text = f"---\n{DatasetCardData(**head).to_yaml()}\n---\n\n{body}"
    read: Any = DatasetCard(text).data
    if read.to_dict() != head:
        raise StageError(
            "card", "huggingface_hub reads another head than was written", "report this bug"
        )
    return text


def _head(needs: Mapping[str, Sealed], config: CardConfig) -> dict[str, Any]:
    documents = needs["decontaminate"].facts["documents_by_arm"]
    size = next((name for most, name in _SIZES if max(documents.values()) < most), "1M<n<10M")
    folder = needs["decontaminate"].path.name
    configs = [
        {"config_name": arm.replace("+", "_"), "data_files": f"{folder}/arms/{arm}/*.parquet"}
        for arm in ARMS
    ]
    configs[ARMS.index("kept+synthetic")]["default"] = True  # type: ignore[assignment]  # the hub's own mixed type
    return {
        "pretty_name": config.title,
        "license": config.licence or "unknown",
        "language": ["en"],
        "task_categories": ["text-generation"],
        "size_categories": [size],
        "tags": ["primer", "educational", "synthetic", "code"],
        "configs": configs,
    }


def _body(needs: Mapping[str, Sealed], config: CardConfig) -> dict[str, Any]:
    facts = {name: sealed.facts for name, sealed in needs.items()}
    diversity = json.loads(needs["synthesize"].file("diversity.json").read_text())
    code = needs["ingest"].manifest.code
    return {
        "title": config.title,
        "summary": config.summary,
        "journey": [_journey_row(name, sealed.ledger) for name, sealed in needs.items()],
        "clean": facts["clean"],
        "label": facts["label"],
        "filter": facts["train-filter"],
        "applied": facts["apply-filter"],
        "drift": _drift(needs["apply-filter"]),
        "synthetic": facts["synthesize"],
        "diversity": diversity_rows(diversity),
        "pieces": _pieces(facts["synthesize"]),
        "benchmarks": json.loads(needs["decontaminate"].file("benchmarks.json").read_text()),
        "contamination": facts["decontaminate"],
        "tokens": facts["tokenize"],
        "licences": _licences(needs["decontaminate"]),
        "spend": _spend(needs),
        "seed": needs["ingest"].manifest.seed,
        "commit": code["commit"],
        "dirty": code["dirty"],
        "fingerprints": [
            (name, f"`{s.manifest.fingerprint[:16]}`", f"`{s.manifest.outputs_sha256[:16]}`")
            for name, s in needs.items()
        ],
        "limits": _limits(facts),
    }


def _pieces(synthetic: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Of each task that was asked for: slots, accepted pieces, and how well pairs are covered."""
    return [
        (task, wanted, synthetic["accepted"][task], synthetic["coverage"].get(task))
        for task, wanted in synthetic["wanted"].items()
        if wanted
    ]


def _drift(applied: Sealed) -> Mapping[str, Any] | None:
    """What stage 5 says of drift, and whether in a picture too; None where it compared nothing."""
    told: Mapping[str, Any] | None = applied.facts["drift"]
    if told is None:
        return None
    nth = "document" if told["every"] == 1 else f"document, one in {told['every']} by a hash,"
    return {**told, "every_nth": nth, "pictured": PICTURE in applied.manifest.files}


def _journey_row(name: str, account: Ledger) -> dict[str, Any]:
    def told(reasons: Mapping[str, int]) -> str:
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{reason} {n}" for reason, n in ordered if n) or "0"

    return {
        "name": name, "unit": account.unit, "rows_in": account.rows_in, "kept": account.kept,
        "dropped": told(account.dropped), "failed": told(account.failed),
    }  # fmt: skip


def count_licences(arms: Sealed, arm: str) -> dict[str, int]:
    """Documents of an arm by licence, "unknown" where there is none."""
    counts: dict[str, int] = {}
    for batch in read_batches(arms.files(f"arms/{arm}/*.parquet"), ["licence"]):
        for row in pc.value_counts(batch["licence"]).to_pylist():
            name = row["values"] or "unknown"
            counts[name] = counts.get(name, 0) + row["counts"]
    return dict(sorted(counts.items()))


def _licences(arms: Sealed) -> list[tuple[Any, ...]]:
    by_arm = [count_licences(arms, arm) for arm in ARMS]
    names = sorted({name for counts in by_arm for name in counts})
    return [(name, *(counts.get(name, 0) for counts in by_arm)) for name in names]


def _spend(needs: Mapping[str, Sealed]) -> list[tuple[Any, ...]]:
    """What was estimated before the requests left, and what was billed."""
    rows = []
    for name, sealed in needs.items():
        spent = sealed.manifest.spend
        if spent:
            lost = f" (and at most {spent.lost_cost_at_most:.4f} lost)" * bool(
                spent.lost_cost_at_most
            )
            rows.append(
                (name, spent.calls, spent.batched_calls,
                 spent.estimated_prompt_tokens, spent.prompt_tokens,
                 spent.estimated_completion_tokens, spent.completion_tokens,
                 spent.reasoning_tokens, f"{spent.cost:.4f} {spent.currency}{lost}")
            )  # fmt: skip
    return rows


def _limits(facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    limits = [
        "A filter repeats the taste of its annotator; see the report for its mistakes.",
        "Benchmarks are kept out by shared runs of words and by the structure of programs; a "
        "paraphrase is not seen.",
    ]
    if not facts["label"]["annotator_is_llm"]:
        limits.insert(0, "Labels and synthetic text come from rules, not from a language model.")
    if not facts["decontaminate"]["hits"]:
        limits.append("No benchmark was checked.")
    return limits


def _write_samples(folder: Path, needs: Mapping[str, Sealed], config: CardConfig, seed: int) -> int:
    """A page of documents for each arm, chosen by a hash, fenced so that they stay text."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = read_rows(needs["apply-filter"].files("scores/*.parquet"), ["doc_id", "score"])
    score_of = {row["doc_id"]: row["score"] for row in scores}
    written = 0
    for arm in ARMS:
        files = needs["decontaminate"].files(f"arms/{arm}/*.parquet")
        ids = [row["doc_id"] for row in read_rows(files, ["doc_id"])]
        chosen = set(sorted(ids, key=lambda i: place_of(i, seed, "sample"))[: config.samples])
        pages = [f"# Samples of the arm {arm}\n"]
        for row in read_rows(files):
            if row["doc_id"] in chosen:
                pages.append(_sample(row, score_of.get(row["doc_id"]), config.sample_chars))
                written += 1
        (folder / f"{arm}.md").write_text("\n".join(pages))
    return written


def _sample(row: Mapping[str, Any], score: float | None, chars: int) -> str:
    shown = row["text"][:chars]
    fence = "`" * max(3, 1 + max((len(run) for run in _fences(shown)), default=0))
    told = "synthetic, not scored" if score is None else f"score {score:.3f}"
    return (
        f"## {row['doc_id']}\n\n{row['source']}, {told}, licence {row['licence'] or 'unknown'}\n\n"
        f"{fence}text\n{shown}\n{fence}\n"
    )


def _fences(text: str) -> list[str]:
    import re

    return re.findall(r"`{3,}", text)


def _figure(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


STAGE = Stage(
    number=9,
    name="card",
    version=4,
    needs=("ingest", "clean", "label", "train-filter", "apply-filter", "synthesize",
           "decontaminate", "tokenize"),
    makes=("README.md", "croissant.json", "prov.json", "samples/*.md", "plots/*.png"),
    sees=(CardConfig,),
    work=card,
)  # fmt: skip
