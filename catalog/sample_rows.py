"""What stands on a page of samples: the texts of its few rows, and what is known beside them.

Each text is read from its file by row number, so that only the pages of the file around it are
unpacked; labels, scores, leaks and reasons are looked up by `doc_id`. The text of a document that
cleaning dropped has not been redacted: of those the sealed, redacted example is shown where there
is one, and nothing of the text otherwise.
"""

# ruff: noqa: S608  # SQL of constants of this module; what a reader asks for is bound to $names

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from catalog.parquet_reader import Reader
from catalog.sample_files import Corpus, Files
from catalog.sample_query import Place, decide
from pipeline.splits import ValidationConfig, in_validation

EXCERPT_CHARS = 700

_COLUMNS = (
    'doc_id, kind, source, "group", url_or_path, licence, language, origin, metadata, '
    "substr(text, $start + 1, $most) AS text, length(text) AS chars"
)


def read_rows(
    reader: Reader, corpus: Corpus, places: Sequence[Place], most: int = EXCERPT_CHARS,
    start: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """One mapping a document: its columns, at `most` characters of its text from `start` on and
    how many `chars` it has, its shelf, `score`, `expected_score`, `keep`, `label`, `dropped`,
    `leaks`, `held_out` and `decision`.
    """
    texts = _read_texts(reader, places, start, most)
    ids = [place.doc_id for place in places]
    scores = _by_id(reader, corpus.scores, ids, "score, expected_score, keep")
    labels = _by_id(
        reader, corpus.labels, ids, "annotator, score, justification, unlabelled_reason, rubric"
    )
    dropped = _by_id(reader, corpus.dropped, ids, "reason, evidence")
    examples = _by_id(reader, corpus.examples, ids, "text")
    leaks = _by_id(reader, corpus.hits, ids, "benchmark, item")
    rows = []
    for place in places:
        row, doc_id = texts[place.path, place.row], place.doc_id
        row |= {"shelf": place.shelf, "label": labels.get(doc_id), "dropped": dropped.get(doc_id)}
        row |= scores.get(doc_id) or dict.fromkeys(("score", "expected_score", "keep"))
        row |= {"leaks": leaks.get(doc_id), "held_out": _is_held_out(corpus, row)}
        if place.shelf == "dropped":
            row["text"] = examples.get(doc_id, {}).get("text")
        rows.append(row | {"decision": decide(row)})
    return rows


def _read_texts(
    reader: Reader, places: Sequence[Place], start: int, most: int
) -> dict[tuple[str, int], dict[str, Any]]:
    """The documents' own columns by file and row."""
    by_path: dict[str, list[int]] = defaultdict(list)
    for place in places:
        by_path[place.path].append(place.row)
    return {
        (path, row.pop("file_row_number")): row
        for path, numbers in by_path.items()
        for row in reader.rows(
            f"SELECT file_row_number, {_COLUMNS} "
            "FROM read_parquet([$path], file_row_number = true) "
            "WHERE file_row_number IN (SELECT unnest($numbers))",
            {"path": path, "numbers": numbers, "start": start, "most": most},
        )
    }


def _by_id(
    reader: Reader, files: Files, ids: Sequence[str], columns: str
) -> dict[str, dict[str, Any]]:
    """Rows of a table beside the documents, by doc_id; of several for one document the last."""
    if not files or not ids:
        return {}
    found = reader.rows(
        f"SELECT doc_id, {columns} FROM read_parquet($files) WHERE doc_id IN (SELECT unnest($ids))",
        {"files": list(files), "ids": list(ids)},
    )
    return {row.pop("doc_id"): row for row in found}


def _is_held_out(corpus: Corpus, row: Mapping[str, Any]) -> bool:
    """Whether the document's group is kept for validation; synthetic text never is."""
    if corpus.held_out_share is None or row["shelf"] == "synthetic":
        return False
    return in_validation(row["group"], corpus.seed, ValidationConfig(share=corpus.held_out_share))
