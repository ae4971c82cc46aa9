"""What synthetic text is grounded in: extracts of kept documents, and pages to be rewritten.

Nothing of a group that is held out for validation is drawn: a lesson on it would carry it into
training. Extracts come in a seeded order that does not depend on shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.extracts import Extract, extract_all
from pipeline.records import read_rows
from pipeline.splits import ValidationConfig, in_validation, place_of
from pipeline.stage import Workplace


@dataclass(frozen=True)
class Material:
    """Extracts of kept code, of kept prose, and of pages of middling value; human texts beside."""

    code: list[Extract]
    prose: list[Extract]
    middling: list[Extract]
    reference: list[str]


def read_material(
    place: Workplace, band: tuple[float, float] | None, most: int, extract_chars: int, texts: int
) -> Material:
    """At most `most` extracts of each sort, and `texts` human texts to compare with.

    `band` is the range of expected scores of pages to be rewritten, None where none is asked for.
    """
    found: dict[str, list[Extract]] = {"code": [], "web": []}
    reference: list[tuple[float, str]] = []
    for row in _free(place, read_rows(place.needs["apply-filter"].files("kept/*.parquet"))):
        found[row["kind"]] += extract_all(row, extract_chars)
        reference.append((place_of(row["doc_id"], place.seed, "reference"), row["text"]))
    middling = [] if band is None else _middling(place, band, extract_chars)
    code, prose, middling = (
        sorted(extracts, key=lambda e: place_of(e.doc_id + e.topic, place.seed, "extract"))[:most]
        for extracts in (found["code"], found["web"], middling)
    )
    return Material(
        code, prose, middling, [text[:extract_chars] for _, text in sorted(reference)[:texts]]
    )


def mixed(code: list[Extract], prose: list[Extract], prose_share: float) -> list[Extract]:
    """Code and prose in the stated shares, as far as there is prose."""
    if not prose or prose_share == 0:
        return code
    wanted = round(len(code) * prose_share / max(1e-9, 1 - prose_share))
    return code + prose[:wanted]


def _free(place: Workplace, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    held_out = place.section(ValidationConfig)
    return (row for row in rows if not in_validation(row["group"], place.seed, held_out))


def _middling(place: Workplace, band: tuple[float, float], extract_chars: int) -> list[Extract]:
    """Extracts of web pages whose expected score lies in the band, kept or not."""
    scores = read_rows(
        place.needs["apply-filter"].files("scores/*.parquet"), ["doc_id", "expected_score"]
    )
    low, high = band
    wanted = {row["doc_id"] for row in scores if low <= row["expected_score"] <= high}
    pages = _free(place, read_rows(place.needs["clean"].files("documents/*.parquet")))
    return [
        extract
        for row in pages
        if row["kind"] == "web" and row["doc_id"] in wanted
        for extract in extract_all(row, extract_chars)
    ]
