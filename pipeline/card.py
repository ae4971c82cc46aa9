"""Stage 9: the published dataset, described from the manifests of all stages before it alone.

Its directory is the dataset: the documents as Parquet (`data/`), a card in Hugging Face's form, a
datasheet, Croissant and PROV for machines, what changed since the parent version, samples to read
and plots to look at. `datasets.load_dataset` opens it as it stands; `primer card RUN --publish DIR`
copies it out, and `--check` makes every figure again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.card_config import CardConfig
from pipeline.card_data import Part, count_licences, write_data
from pipeline.card_facts import Told
from pipeline.card_plots import plot_card
from pipeline.card_samples import write_samples
from pipeline.card_text import render_card
from pipeline.changes import changes_since_parent
from pipeline.croissant import make_croissant
from pipeline.datasheet import render_datasheet
from pipeline.ledger import Ledger
from pipeline.lineage import make_prov
from pipeline.manifest import FileEntry, hash_file
from pipeline.splits import ValidationConfig
from pipeline.stage import Outcome, Sealed, Stage, Workplace

__all__ = ["STAGE", "CardConfig", "card", "count_licences", "render_files", "told_of"]


def card(place: Workplace) -> Outcome:
    """Write the data, then all that describes it."""
    config, needs = place.section(CardConfig), place.needs
    with place.bar("writing", 4) as advance:
        held_out = place.section(ValidationConfig)
        parts = write_data(place.out, needs["decontaminate"], place.seed, held_out)
        advance()
        plot_card(place.out / "plots", needs)
        advance()
        samples = write_samples(place.out / "samples", needs, config, place.seed)
        advance()
        told = told_of(needs, config, parts)
        for name, text in render_files(told, _entries(place.out, parts)).items():
            (place.out / name).write_text(text, encoding="utf-8")
        advance()
    facts = {"title": config.title, "parts": [asdict(part) for part in parts]}
    return Outcome(Ledger("samples", samples, samples), facts)


def told_of(needs: Mapping[str, Sealed], config: CardConfig, parts: Sequence[Part]) -> Told:
    """What the card rests on."""
    return Told(needs, config, parts, changes_since_parent(needs))


def _entries(out: Path, parts: Sequence[Part]) -> dict[str, FileEntry]:
    return {
        file: FileEntry(sha256=hash_file(out / file), bytes=(out / file).stat().st_size)
        for part in parts
        for file in part.files
    }


def render_files(told: Told, data: Mapping[str, FileEntry]) -> dict[str, str]:
    """Every file that only says what is told, by its name; `data` are the files of the parts."""
    return {
        "README.md": render_card(told),
        "datasheet.md": render_datasheet(told),
        "croissant.json": _json(make_croissant(told, data)),
        "prov.json": _json(make_prov(told)),
        "changes.json": _json(told.changes),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


STAGE = Stage(
    number=9,
    name="card",
    version=5,
    needs=("ingest", "clean", "label", "train-filter", "apply-filter", "synthesize",
           "decontaminate", "tokenize"),
    makes=("README.md", "datasheet.md", "croissant.json", "prov.json", "changes.json",
           "data/*.parquet", "samples/*.md", "plots/*.png"),
    sees=(CardConfig, ValidationConfig),
    work=card,
)  # fmt: skip
