"""What stage 5 and `primer filter` say of drift: drift.json, drift.png, a sample to label next.

The files are the same bytes for the same documents, however they were worked on. docs/drift.md says
how to read them, and what to do.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from pipeline.addresses import whole_file
from pipeline.config import Section
from pipeline.records import write_table
from pipeline.sampling import share_out

if TYPE_CHECKING:
    from classifiers.drift import Reference
    from classifiers.drift_verdict import ColumnDrift, Limits, StratumDrift
    from pipeline.drift_count import DriftCount

log = logging.getLogger("primer")

DRIFT, PICTURE, NEXT_SAMPLE = "drift.json", "drift.png", "next_sample.parquet"
_FORMAT = 1
_SHOWN = 5  # columns of a stratum in the facts, which the card shows

SAMPLE = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("stratum", pa.string(), nullable=False),  # source/kind, or the kind
        pa.field("source", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("url_or_path", pa.string()),
        pa.field("score", pa.float32(), nullable=False),
    ]
)


class DriftConfig(Section):
    """From where on a difference to the training sample counts, and what is offered to label."""

    psi_max: float = Field(
        0.25, gt=0, le=100,
        description="Population stability index, less that of chance, from where a column has "
        "drifted if the Kolmogorov-Smirnov distance is significant too.",
    )  # fmt: skip
    psi_notable: float = Field(
        0.1, gt=0, le=100, description="The same, from where a column is worth a look."
    )
    level: float = Field(
        0.01, gt=0, lt=0.5,
        description="Probability of one significant distance in all columns and strata by chance.",
    )  # fmt: skip
    columns_min: int = Field(
        3, ge=1, le=1_000,
        description="Drifted columns that make a drifted stratum; a drifted score does so alone.",
    )  # fmt: skip
    documents_min: int = Field(
        100, ge=20, le=1_000_000,
        description="Documents, then and now, below which a stratum is not judged.",
    )  # fmt: skip
    documents: int = Field(
        20_000, ge=1_000, le=100_000_000, description="Documents that are counted, about."
    )
    sample: int = Field(
        200, ge=0, le=10_000,
        description="Documents of drifted and new strata that are offered to label next.",
    )  # fmt: skip

    @property
    def limits(self) -> Limits:
        """What the verdicts need."""
        from classifiers.drift_verdict import Limits

        fields = ("psi_max", "psi_notable", "level", "columns_min", "documents_min")
        return Limits(**{name: getattr(self, name) for name in fields})


def write_drift(
    out: str, told_as: str, reference: Reference, count: DriftCount, config: DriftConfig
) -> dict[str, Any]:
    """Judge, write the files, warn of what has drifted; returns what the card shows.

    `told_as` is where the files will lie in the end.
    """
    from classifiers.drift_plot import draw_drift
    from classifiers.drift_verdict import judge_drift

    found = judge_drift(reference, count.histograms, config.limits)
    offered = [s.name for s in found if s.verdict in ("drifted", "new") and s.name in count.first]
    sample = _next_sample(count, offered, config.sample)
    documents = sum(s.documents for s in found if s.name in count.histograms)
    told: dict[str, Any] = {
        "reference_documents": reference.documents,
        "documents": documents,
        "every": count.every,
        "limits": asdict(config.limits),
        "offered": len(sample),
    }
    record = {"format": _FORMAT, **told, "strata": [_stratum(s, len(s.columns)) for s in found]}
    with whole_file(f"{out}/{DRIFT}") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")
    with whole_file(f"{out}/{PICTURE}") as path:
        draw_drift(path, reference, count.histograms, found, config.limits)
    with whole_file(f"{out}/{NEXT_SAMPLE}") as path:
        write_table(path, sample, SAMPLE)
    _warn(told_as, [s for s in found if s.name in offered])
    return {**told, "strata": [_stratum(s, _SHOWN) for s in found]}


def write_no_drift(out: str) -> None:
    """The same files where nothing could be compared: the filter has no reference, or it is off."""
    with whole_file(f"{out}/{DRIFT}") as path:
        path.write_text(json.dumps({"format": _FORMAT, "strata": None}) + "\n")
    with whole_file(f"{out}/{NEXT_SAMPLE}") as path:
        write_table(path, [], SAMPLE)


def _next_sample(count: DriftCount, strata: Sequence[str], size: int) -> list[dict[str, Any]]:
    """The first of each stratum, in as equal parts as can be."""
    parts = share_out(size, {name: len(count.first[name]) for name in strata})
    rows = (
        {**{field: row[field] for field in row if field != "rank"}, "stratum": name}
        for name, part in parts.items()
        for row in count.first[name][:part]
    )
    return sorted(rows, key=lambda row: (row["stratum"], row["doc_id"]))


def _stratum(stratum: StratumDrift, columns: int) -> dict[str, Any]:
    score = [column for column in stratum.columns if column.name == "score"]
    return {
        "stratum": stratum.name,
        "verdict": stratum.verdict,
        "reference_documents": stratum.reference_documents,
        "documents": stratum.documents,
        "drifted_columns": sum(column.verdict == "drifted" for column in stratum.columns),
        "score": _column(score[0]) if score else None,
        "columns": [_column(column) for column in stratum.columns[:columns]],
    }


def _column(column: ColumnDrift) -> dict[str, Any]:
    return {
        "name": column.name,
        "verdict": column.verdict,
        "psi": round(column.psi, 4),
        "psi_by_chance": round(column.psi_by_chance, 4),
        "ks": round(column.ks, 4),
        "ks_critical": round(column.ks_critical, 4),
    }


def _warn(out: str, strata: Sequence[StratumDrift]) -> None:
    """One line: how many strata, the worst of them, and what to do."""
    if not strata:
        return
    worst = strata[0]
    column = worst.worst
    assert column is not None  # of a stratum that was judged
    if worst.verdict == "new":
        how = f"the filter has never seen {worst.name}, whose {column.name}, beside its kind's,"
    else:
        how = f"of {worst.name}, {column.name}"
    log.warning(
        "filter: %s of documents unlike the training sample: %s has a PSI of %.2f (%.2f by "
        "chance); to label some, copy %s/%s and name the copy in label.also",
        "1 stratum" if len(strata) == 1 else f"{len(strata)} strata", how, column.psi,
        column.psi_by_chance, out, NEXT_SAMPLE,
    )  # fmt: skip
