"""reference.json beside a filter: the histograms that later documents are compared with.

They are of documents that the filter has not seen. Those that the word embedding and the forest
were made from look other to them than all others do: measured on 1,000 files, an axis of the
embedding has a PSI of up to 0.35 between the documents that it was fitted to and unseen ones of the
same sort. So a part of the corpus's sample is set apart for this, and the file tells which
documents were seen, so that those are not counted when the filter is applied to its own corpus.
docs/drift.md has the figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.labelled import Material, Row, kinds_of, texts_of

if TYPE_CHECKING:
    from classifiers.drift import Reference
    from classifiers.scorer import Scorer

REFERENCE = "reference.json"
REFERENCE_DOCUMENTS = 2_000
MARK_CHARS = 12  # of a document's id, which tell it from all others of a corpus
_FORMAT = 1

Column = npt.NDArray[np.floating[Any]]


def set_apart(
    material: Material, sampled: int, rng: np.random.Generator
) -> tuple[Material, list[Row]]:
    """The material with a sample of at most `sampled`, and what of the rest nothing learns from."""
    order = rng.permutation(len(material.sample))
    sample = [material.sample[i] for i in sorted(order[:sampled])]
    labelled = {row["doc_id"] for row in material.train}
    rest = (material.sample[i] for i in sorted(order[sampled:]))
    return replace(material, sample=sample), [r for r in rest if r["doc_id"] not in labelled]


def drift_columns(
    features: npt.NDArray[np.float32], score: Column, expected_score: Column
) -> npt.NDArray[np.float32]:
    """float32[N, columns]: all that the forest reads, and both scores it gives."""
    return np.column_stack([features, score, expected_score]).astype(np.float32, copy=False)


def make_reference(scorer: Scorer, rows: Sequence[Row], seen: Iterable[str]) -> Reference:
    """Of unseen documents, each in the stratum of its source and kind."""
    features = scorer.features.transform(texts_of(list(rows)), kinds_of(list(rows)))
    columns = drift_columns(features, *scorer.judge(features))
    strata = [f"{row['source']}/{row['kind']}" for row in rows]
    return count_reference(scorer.features.names, columns, strata, seen)


def count_reference(
    names: Sequence[str],
    columns: npt.NDArray[np.float32],
    strata: Sequence[str],
    seen: Iterable[str] = (),
) -> Reference:
    """Of float32[N, columns], the last two of which are scores, and each row's stratum."""
    from classifiers.drift import Bins, Reference
    from classifiers.drift_verdict import SCORES

    bins, of_row = Bins.of([*names, *SCORES], columns), np.array(strata, object)
    histograms = {name: bins.count(columns[of_row == name]) for name in sorted(set(strata))}
    return Reference(bins, histograms, frozenset(doc_id[:MARK_CHARS] for doc_id in seen))


def save_reference(path: Path, reference: Reference) -> None:
    """Some 30 kB and 4 kB a stratum, and 15 bytes for each document that was seen."""
    bins = reference.bins
    record = {
        "format": _FORMAT,
        "documents": reference.documents,
        "bins_begin_at": {
            name: begins.tolist() for name, begins in zip(bins.names, bins.begins, strict=True)
        },
        "strata": {name: counts.tolist() for name, counts in reference.strata.items()},
        "seen": sorted(reference.seen),
    }
    path.write_text(json.dumps(record, separators=(",", ":")) + "\n")


def open_reference(model: Path) -> Reference | None:
    """The reference in a filter's directory; None beside a filter of before there was one."""
    from classifiers.drift import Bins, Reference

    path = model / REFERENCE
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    if record["format"] != _FORMAT:
        raise ValueError(f"{path} has format {record['format']}")
    begins = record["bins_begin_at"]
    bins = Bins(tuple(begins), tuple(np.array(at, np.float32) for at in begins.values()))
    strata = {name: np.array(counts, np.int64) for name, counts in record["strata"].items()}
    return Reference(bins, strata, frozenset(record["seen"]))
