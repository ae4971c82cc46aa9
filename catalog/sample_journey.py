"""Everything that a run knows of one document, stage by stage.

What it costs with 1,000,000 documents: some 0.1 s, for ids stand in no order and each table is
searched for one. The text of a document that cleaning dropped is redacted here, as it was never
before; the detectors take 3 s to load, once a process.
"""

# ruff: noqa: S608  # SQL of constants of this module; what a reader asks for is bound to $names

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from catalog.parquet_reader import Reader
from catalog.runs_index import Run
from catalog.sample_files import Corpus, Files
from catalog.sample_query import Place
from catalog.sample_question import SHELVES
from catalog.sample_rows import read_rows

PART_CHARS = 20_000  # of a text on one page
REDACTED_CHARS = 200_000  # of a dropped text that is looked through for what must not be shown
LINKED = 20  # of other documents that this one is tied to


def locate(reader: Reader, corpus: Corpus, doc_id: str) -> Place | None:
    """Where a document lies: as it passed cleaning, else as it was written, else as it came."""
    for shelf, files in zip(
        SHELVES, (corpus.passed, corpus.synthetic, corpus.ingested), strict=True
    ):
        found = _rows(
            reader, files, "file_index, file_row_number", "doc_id = $doc_id", doc_id, rows=True
        )
        if found:
            where = found[0]
            return Place(doc_id, shelf, files[where["file_index"]], where["file_row_number"])
    return None


def read_journey(
    reader: Reader, run: Run, corpus: Corpus, place: Place, start: int
) -> dict[str, Any]:
    """What `sample_rows.read_rows` has of it, and beside it what each stage says."""
    doc_id = place.doc_id
    is_dropped = place.shelf == "dropped"
    begin, most = (0, REDACTED_CHARS) if is_dropped else (start, PART_CHARS)
    (row,) = read_rows(reader, corpus, [place], most, begin)
    if is_dropped:
        (raw,) = reader.rows(
            "SELECT left(text, $most) AS text FROM read_parquet([$path], file_row_number = true) "
            "WHERE file_row_number = $row",
            {"path": place.path, "row": place.row, "most": REDACTED_CHARS},
        )
        shown = _redact(run, row, raw["text"])
        row["chars"] = len(shown or "")
        row["text"] = None if shown is None else shown[start : start + PART_CHARS]
    metadata = _read_json(row["metadata"])
    return {
        **row,
        "told": metadata,
        "opinions": _rows(
            reader, corpus.opinions or corpus.labels,
            "annotator, score, justification, unlabelled_reason, rubric", "doc_id = $doc_id",
            doc_id,
        ),
        "split": _first(_rows(reader, corpus.labels, "split", "doc_id = $doc_id", doc_id)),
        "copy_of": _rows(
            reader, corpus.copies, "survivor, similarity, kind", "doc_id = $doc_id", doc_id
        ),
        "copies": _rows(
            reader, corpus.copies, "doc_id, similarity, kind", "survivor = $doc_id", doc_id
        ),
        "grounded_in": _ids(metadata.get("grounded_in")),
        "grounds": _rows(
            reader, corpus.synthetic, "doc_id, url_or_path",
            "origin = 'synthetic' AND contains(metadata, $doc_id)", doc_id,
        ),
        "hits": _rows(
            reader, corpus.hits, "benchmark, item, part, kind, score", "doc_id = $doc_id", doc_id
        ),
        "arms": [
            arm
            for arm, files in corpus.arms
            if _rows(reader, files, "doc_id", "doc_id = $doc_id", doc_id)
        ],
        "in_validation": bool(
            _rows(reader, corpus.validation, "doc_id", "doc_id = $doc_id", doc_id)
        ),
    }  # fmt: skip


def _rows(
    reader: Reader, files: Files, columns: str, where: str, doc_id: str, rows: bool = False
) -> list[dict[str, Any]]:
    """Some rows of a table that tell of a document; `columns` and `where` are this module's."""
    if not files:
        return []
    numbered = ", file_row_number = true" if rows else ""
    return reader.rows(
        f"SELECT {columns} FROM read_parquet($files{numbered}) WHERE {where} LIMIT {LINKED}",
        {"files": list(files), "doc_id": doc_id},
    )


def _first(rows: list[dict[str, Any]]) -> Any:
    return next(iter(rows[0].values())) if rows else None


def _read_json(given: str) -> Mapping[str, Any]:
    try:
        found = json.loads(given)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ids(given: Any) -> list[str]:
    return [str(one) for one in given][:LINKED] if isinstance(given, list) else []


def _redact(run: Run, row: Mapping[str, Any], text: str) -> str | None:
    """A dropped text without personal data; None where even so it must not be shown."""
    import pyarrow as pa
    from pydantic import ValidationError

    from pipeline.clean_rules import SECRET
    from pipeline.pii import PiiConfig, redact

    if row["dropped"] is None or row["dropped"]["reason"] == SECRET:
        return None
    given = run.stages["clean"].manifest.config.get("CleanConfig", {}).get("pii") or {}
    try:
        config = PiiConfig.model_validate(given)
    except ValidationError:  # a run of an older Primer, whose sections had other fields
        config = PiiConfig()
    redacted = redact(pa.array([text], pa.string()), [row["kind"]], config)
    if redacted.verdicts[0] is not None:
        return None
    shown: str = redacted.texts[0].as_py()
    return shown
