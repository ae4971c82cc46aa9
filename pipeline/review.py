"""The queue for people to review: documents on whose score the annotators disagree most.

It is written twice, as a CSV for spreadsheets and as JSONL for programs. A person fills in
`human_score`, and `pipeline.human_labels` reads either file back.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = (
    "doc_id", "kind", "source", "url_or_path", "scores", "disagreement", "excerpt",
    "justification", "human_score", "annotator", "note",
)  # fmt: skip
FOR_PEOPLE = COLUMNS[-3:]

# A cell that begins so is a formula to a spreadsheet (OWASP, "CSV Injection"). One whose list
# separator is the semicolon parts this file at semicolons and at all ends of lines instead, so
# signs of formulas count behind these too.
_FORMULA = re.compile(r'\A(?=[=+\-@＝＋－＠\t\r\n])|[;\r\n]"*(?=[=+\-@＝＋－＠])')
_NUMBER = re.compile(r"\d+(e\d+)?")  # a hexadecimal id may look like a number, and be rounded


@dataclass(frozen=True)
class ReviewItem:
    """A document, its scores by annotator (None: asked, but unlabelled), and what to judge by."""

    doc_id: str
    kind: str
    source: str
    url_or_path: str
    scores: Mapping[str, int | None]
    excerpt: str
    justification: str | None  # the first annotator's

    @property
    def disagreement(self) -> int:
        """The range of the scores."""
        given = self._given()
        return max(given) - min(given) if given else 0

    @property
    def needs_review(self) -> bool:
        """Whether annotators disagree, or one of them gave no score."""
        return self.disagreement > 0 or None in self.scores.values()

    @property
    def rank(self) -> tuple[float, float, str]:
        """Sorts by range, then variance, both downwards, then by id."""
        given = self._given()
        return -self.disagreement, -statistics.pvariance(given) if given else 0.0, self.doc_id

    def _given(self) -> list[int]:
        return [score for score in self.scores.values() if score is not None]


def most_disputed(items: Iterable[ReviewItem], size: int) -> list[ReviewItem]:
    """The first `size` of those that need review, the largest disagreement first."""
    return sorted((item for item in items if item.needs_review), key=lambda item: item.rank)[:size]


def write_review_queue(folder: Path, items: Sequence[ReviewItem], size: int) -> int:
    """Write review.csv and review.jsonl, the first `size` that need review; returns how many.

    The CSV is safe to open in a spreadsheet: an apostrophe stands before what would be a formula,
    or a number in the place of an id. The JSONL has every text as it is.
    """
    rows = [_row(item) for item in most_disputed(items, size)]
    with (folder / "review.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # the byte order mark tells a spreadsheet that it is UTF-8
    with (folder / "review.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    return len(rows)


def _row(item: ReviewItem) -> dict[str, Any]:
    return {
        "doc_id": item.doc_id,
        "kind": item.kind,
        "source": item.source,
        "url_or_path": item.url_or_path,
        "scores": dict(item.scores),
        "disagreement": item.disagreement,
        "excerpt": item.excerpt,
        "justification": item.justification,
        **dict.fromkeys(FOR_PEOPLE),
    }


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    if name == "doc_id" and _NUMBER.fullmatch(text):
        return f"'{text}"
    return _FORMULA.sub(r"\g<0>'", text)
