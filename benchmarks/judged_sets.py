"""Documents that people judged, and documents whose source tells something about them.

Cut from public sources; they lie beside the project, which carries none of them. Left out: the
excerpts of HPLT's inspection (13 positives of 125: a fold would hold three).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.labelled_sets import CODE, DATA, PROSE, Fields, own_text, page_or_repo
from classifiers.votes import TOP_SCORE

# The sixths of the ease of reading in CLEAR: as many documents of each score from 0 to 5.
SIXTHS_OF_EASE = (-2.05, -1.41, -0.91, -0.46, 0.13)
POSITIVE_SCORE_MIN = 3
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class JudgedSet:
    """A data set, its judgements as scores from 0 to 5, and the groups that it is split by."""

    name: str
    by: str  # "people", or "source" for weak labels
    files: tuple[str, ...]
    kind: str
    score: Callable[[Fields], int]
    group: Callable[[Fields], str]
    seeds: int
    value: Callable[[Fields], float] | None = None  # what people said, where finer than a score
    formula: Callable[[Fields], float] | None = None  # a published rival of its field
    every: int = 1
    fits: Callable[[Fields], bool] = lambda row: True

    def read(self) -> Judged:
        """The documents, or each `every`-th of them."""
        rows = [row for file in self.files for row in _rows(file) if self.fits(row)]
        rows = rows[:: self.every]
        columns = [
            np.array([measure(row) for row in rows], np.float64) if measure else None
            for measure in (self.value, self.formula)
        ]
        return Judged(
            self,
            pa.array([row["text"] for row in rows], pa.large_string()),
            pa.array([self.kind] * len(rows), pa.string()),
            np.array([self.score(row) for row in rows], np.int64),
            np.array([self.group(row) for row in rows], object),
            *columns,
        )


@dataclass(frozen=True)
class Judged:
    """N documents of a set."""

    set: JudgedSet
    texts: pa.Array
    kinds: pa.Array
    scores: npt.NDArray[np.int64]
    groups: npt.NDArray[np.object_]
    values: Floats | None
    formula: Floats | None

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        return self.scores >= POSITIVE_SCORE_MIN


def _rows(file: str) -> Iterator[dict[str, Any]]:
    """The rows of a file; a page whose lines were judged gives a row for each line."""
    with gzip.open(DATA / file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            if "line_labels" not in row:
                yield {**row, "text": row.get("text", row.get("code"))}
                continue
            for text, label in zip(row["text"].split("\n"), row["line_labels"], strict=True):
                yield {"text": text, "label": label, "page": f"{file} {number}"}


def _ease(row: Fields) -> int:
    return int(np.searchsorted(SIXTHS_OF_EASE, float(row["BT_easiness"])))


def _yes(holds: bool) -> int:
    return TOP_SCORE * int(holds)


JUDGED_SETS = [
    JudgedSet("dclm, would keep", "people", ("labelled/dclm_human_quality.jsonl.gz",), "web",
              lambda r: _yes(int(r["label"]) == 1), own_text, 3),
    JudgedSet("clear, easy half", "people", ("labelled/clear_readability_NC.jsonl.gz",), "web",
              _ease, lambda r: r["title"], 3, lambda r: float(r["BT_easiness"]),
              lambda r: -float(r["flesch_kincaid"])),
    JudgedSet("onestop, elementary", "people", ("labelled/onestop_english.jsonl.gz",), "web",
              lambda r: _yes(r["level"] == "ele"), lambda r: r["article"], 3,
              fits=lambda r: r["level"] != "int"),
    JudgedSet("java, readable", "people", ("labelled/java_readability_human.jsonl.gz",), "code",
              lambda r: _yes(float(r["score"]) >= 3.6), own_text, 3, lambda r: float(r["score"])),
    JudgedSet("danish, educational", "people", ("labelled/fineweb_c_danish_edu_human.jsonl.gz",),
              "web", lambda r: _yes(int(r["int_score"]) >= 1), own_text, 3,
              lambda r: float(r["int_score"])),
    JudgedSet("turku, line of the main text", "people",
              ("labelled/turku_line_quality_train.jsonl.gz",
               "labelled/turku_line_quality_dev.jsonl.gz"), "web",
              lambda r: _yes(int(r["label"]) == 1), lambda r: r["page"], 1, every=2),
    JudgedSet("code, of a teaching repository", "source", (CODE,), "code",
              lambda r: _yes(r["nature"] == "teaching"), lambda r: r["repo"], 1, every=4),
    JudgedSet("prose, of a textbook", "source", (PROSE,), "web",
              lambda r: _yes(r["kind"] == "textbook"), page_or_repo, 1, every=4),
]  # fmt: skip
