"""A reader's filters as FROM ... WHERE ... over the sealed files, with all values bound.

SQL is put together from the constants below alone. Documents are `d`, with the filter's `score`
and `keep` beside them, null where there are none.

Scores are joined on `doc_id`. Where a pass over both tables has shown that row by row they name
the same documents, as stage 5 writes them, the rows are put beside each other instead (a
positional join), which is four times as fast and gives the same. Which groups are held out is
asked once of the names of the groups, as hashing them takes longer than all the rest.
"""

# ruff: noqa: S608  # SQL of constants of this module; what a reader asks for is bound to $names

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from catalog.parquet_reader import open_reader
from catalog.sample_files import Corpus, Files
from catalog.sample_filters import UNKNOWN, Filters

FACETS = ("source", "kind", "language", "licence")
SHELVES = ("passed", "synthetic", "dropped")
REMEMBERED = 200  # answers of each kind, of all runs

_OWN = (
    'doc_id, kind, source, "group", url_or_path, licence, language, text, '
    "file_index, file_row_number"
)
_NOTHING = "NULL AS score, NULL AS keep, NULL AS reason"
_PASSED = f"SELECT 0 AS shelf, {_OWN} FROM read_parquet($passed, file_row_number = true)"
_SCORES = "SELECT doc_id, score, keep FROM read_parquet($scores)"
_SYNTHETIC = (
    f"SELECT 1 AS shelf, {_OWN}, {_NOTHING} FROM read_parquet($synthetic, file_row_number = true)"
)
_DROPPED = (
    f"SELECT 2 AS shelf, {_OWN}, NULL AS score, NULL AS keep, reason "
    "FROM read_parquet($ingested, file_row_number = true) "
    "JOIN (SELECT doc_id, reason FROM read_parquet($dropped)) USING (doc_id)"
)
_NO_DOCUMENT = (
    "SELECT 0 AS shelf, '' AS doc_id, '' AS text, 0 AS file_index, 0 AS file_row_number, "
    "NULL AS score WHERE false"
)
_LEAKS = "d.doc_id IN (SELECT doc_id FROM read_parquet($hits))"
_HELD_OUT = 'd."group" IN (SELECT unnest($held_out))'


def question(
    corpus: Corpus, filters: Filters, shelf: str | None = None, path: str | None = None
) -> tuple[str, dict[str, Any]]:
    """FROM ... WHERE ... of a question, and the values bound to its $names.

    With `shelf` only that one is asked, and with `path` only that file of it.
    """
    shelves = [
        name for name in shelves_of(filters) if _is_there(corpus, name) and shelf in (None, name)
    ]
    union = " UNION ALL ".join(_from(corpus, name, path is None) for name in shelves)
    values = _values(corpus, filters)
    if shelf is not None and path is not None:
        values[shelf] = [path]
    conditions = (_conditions(corpus, filters) or ["true"]) if union else ["false"]
    return f"FROM ({union or _NO_DOCUMENT}) d WHERE {' AND '.join(conditions)}", values


def shelves_of(filters: Filters) -> tuple[str, ...]:
    """Which shelves can hold what is asked for."""
    if filters.decision == "dropped_in_cleaning" or filters.reason:
        return ("dropped",)
    if filters.decision == "synthetic":
        return ("synthetic",)
    if filters.asks_score or filters.decision in ("held_out", "not_scored") or filters.label:
        return ("passed",)
    if filters.decision == "contaminated" or filters.arm:
        return ("passed", "synthetic")
    return SHELVES


def _is_there(corpus: Corpus, shelf: str) -> bool:
    if shelf == "dropped":
        return bool(corpus.ingested and corpus.dropped)
    return bool(corpus.passed if shelf == "passed" else corpus.synthetic)


def _from(corpus: Corpus, shelf: str, whole: bool) -> str:
    """A shelf's documents; `whole` where all its files are read."""
    if shelf == "synthetic":
        return _SYNTHETIC
    if shelf == "dropped":
        return _DROPPED
    if not corpus.scores:
        return _PASSED.replace(" FROM", f", {_NOTHING} FROM")
    how, on = ("POSITIONAL JOIN", "") if whole and is_aligned(corpus) else (
        "LEFT JOIN", "ON s.doc_id = p.doc_id"
    )  # fmt: skip
    return (
        f"SELECT p.*, s.score, s.keep, NULL AS reason FROM ({_PASSED}) p {how} ({_SCORES}) s {on}"
    )


@lru_cache(REMEMBERED)
def is_aligned(corpus: Corpus) -> bool:
    """Whether row n of the scores is of document n, for every n."""
    with open_reader("apply-filter", corpus.every_file) as reader:
        apart = reader.number(
            "SELECT count(*) AS n FROM (SELECT doc_id FROM read_parquet($passed)) p "
            "POSITIONAL JOIN (SELECT doc_id FROM read_parquet($scores)) s "
            "WHERE p.doc_id IS DISTINCT FROM s.doc_id",
            {"passed": list(corpus.passed), "scores": list(corpus.scores)},
        )
    return apart == 0


@lru_cache(REMEMBERED)
def held_out_groups(corpus: Corpus) -> Files:
    """The groups that are kept for validation, as `pipeline.splits.in_validation` has it."""
    if not corpus.passed:
        return ()
    share = corpus.held_out_share or 0.0
    with open_reader("clean", corpus.every_file) as reader:
        # a filter of the aggregate, as one of the rows would be asked of every document
        rows = reader.rows(
            "SELECT unnest(list(name) FILTER (WHERE left(sha256("
            "concat('validation', chr(0), $seed, chr(0), name)), 14) < $below)) AS name "
            'FROM (SELECT DISTINCT "group" AS name FROM read_parquet($passed))',
            {
                "passed": list(corpus.passed),
                "seed": str(corpus.seed),
                # `pipeline.splits.place_of` takes 7 bytes of the hash: 14 digits of it in hex
                "below": f"{math.ceil(share * 2**56):014x}",
            },
        )
    return tuple(row["name"] for row in rows)


def _conditions(corpus: Corpus, filters: Filters) -> list[str]:
    asked = [
        f"(d.{name} = ${name}" + (f" OR d.{name} IS NULL)" if value == UNKNOWN else ")")
        for name in FACETS
        if (value := getattr(filters, name))
    ]
    if filters.reason:
        asked.append("d.reason = $reason")
    if filters.address:
        asked.append("contains(lower(d.url_or_path), lower($address))")
    if filters.least is not None:
        asked.append("d.score >= CAST($least AS FLOAT)")
    if filters.most is not None:
        asked.append("d.score <= CAST($most AS FLOAT)")
    if filters.arm:
        there = corpus.arm(filters.arm)
        asked.append("d.doc_id IN (SELECT doc_id FROM read_parquet($arm))" if there else "false")
    if filters.label:
        wanted = {"any": "score IS NOT NULL", "none": "score IS NULL"}
        which = wanted.get(filters.label, "score = CAST($label AS TINYINT)")
        labels = f"d.doc_id IN (SELECT doc_id FROM read_parquet($labels) WHERE {which})"
        asked.append(labels if corpus.labels else "false")
    return asked + _decided(corpus, filters.decision)


def _decided(corpus: Corpus, decision: str) -> list[str]:
    """The conditions of a decision; see `sample_filters.DECISIONS`."""
    knows_held_out = corpus.held_out_share is not None
    if decision in ("", "dropped_in_cleaning"):
        return []
    if decision == "contaminated":
        return [_LEAKS if corpus.hits else "false"]
    asked = [f"NOT {_LEAKS}"] if corpus.hits else []
    if decision == "synthetic":
        return asked
    if decision == "held_out":
        return [*asked, _HELD_OUT if knows_held_out else "false"]
    if knows_held_out:
        asked.append(f"NOT ({_HELD_OUT})")
    which = {"kept": "d.keep", "below_threshold": "NOT d.keep", "not_scored": "d.keep IS NULL"}
    return [*asked, which[decision]]


def _values(corpus: Corpus, filters: Filters) -> dict[str, Any]:
    """All that a question may bind; it takes what it names."""
    files = ("passed", "synthetic", "ingested", "dropped", "examples", "scores", "labels", "hits")
    words = (*FACETS, "reason", "address", "text", "least", "most")
    asks_held_out = filters.decision in ("held_out", "kept", "below_threshold", "not_scored")
    return {
        **{name: list(getattr(corpus, name)) for name in files},
        **{name: getattr(filters, name) for name in words},
        "arm": list(corpus.arm(filters.arm)),
        "label": filters.label if filters.label.isdecimal() else "0",
        "held_out": list(held_out_groups(corpus)) if asks_held_out else [],
    }
