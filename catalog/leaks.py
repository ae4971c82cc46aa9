"""What leaked a benchmark, both texts side by side, and the words that they share.

The words are folded as the search for leaks folds them, so that what is marked is what it saw:
case, marks and punctuation do not count. What it costs: about 2 ms a pair of 1,000 characters.
"""

# ruff: noqa: S608  # SQL of constants of this module; what a reader asks for is bound to $names

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from catalog.parquet_reader import open_reader
from catalog.sample_filters import read_position
from pipeline.stage import Sealed

PAIRS_A_PAGE = 10
SHORTEST_RUN = 3  # words; a shorter run is shared by any two texts

_OF_AN_OLDER_PRIMER = {"part": "", "document_text": "", "item_text": "", "score": None}

Span = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """Which leaks: of one benchmark, of one kind, of one document; empty asks for all."""

    benchmark: str = ""
    kind: str = ""
    doc: str = ""


def find_leaks(
    sealed: Sealed, asked: Asked, after: str
) -> tuple[list[dict[str, Any]], int | None, int]:
    """A page of leaks with their `document_spans` and `item_spans`, where the next begins, and
    how many there are in all.
    """
    begin = read_position(after or "0")
    path = str(sealed.file("hits.parquet"))
    where = (
        "($benchmark = '' OR benchmark = $benchmark) AND ($kind = '' OR kind = $kind) "
        "AND ($doc = '' OR doc_id = $doc)"
    )
    values = {"files": [path], "begin": begin, **asked.__dict__}
    with open_reader("decontaminate", [path]) as reader:
        rows = reader.rows(
            "SELECT * FROM read_parquet($files, file_row_number = true) "
            f"WHERE file_row_number >= $begin AND {where} "
            f"ORDER BY file_row_number LIMIT {PAIRS_A_PAGE + 1}",
            values,
        )
        total = reader.number(
            f"SELECT count(*) AS n FROM read_parquet($files) WHERE {where}", values
        )
    following = rows[PAIRS_A_PAGE]["file_row_number"] if len(rows) > PAIRS_A_PAGE else None
    for row in rows:
        for name, absent in _OF_AN_OLDER_PRIMER.items():
            row.setdefault(name, absent)
        spans = shared_words(row["document_text"], row["item_text"])
        row["document_spans"], row["item_spans"] = spans
    return rows[:PAIRS_A_PAGE], following, total


def kinds_of_leaks(sealed: Sealed) -> list[tuple[str, str, int]]:
    """(benchmark, kind, leaks), sorted."""
    path = str(sealed.file("hits.parquet"))
    with open_reader("decontaminate", [path]) as reader:
        rows = reader.rows(
            "SELECT benchmark, kind, count(*) AS n FROM read_parquet($files) "
            "GROUP BY ALL ORDER BY ALL",
            {"files": [path]},
        )
    return [(row["benchmark"], row["kind"], row["n"]) for row in rows]


def shared_words(document: str, item: str) -> tuple[list[Span], list[Span]]:
    """Where in each text the words stand that both have in a row, as spans of characters."""
    ours, theirs = _words(document), _words(item)
    matcher = SequenceMatcher(None, [w for w, *_ in ours], [w for w, *_ in theirs], autojunk=False)
    least = min(SHORTEST_RUN, len(theirs)) or 1
    blocks = [block for block in matcher.get_matching_blocks() if block.size >= least]
    return (
        [_span(ours, block.a, block.size) for block in blocks],
        [_span(theirs, block.b, block.size) for block in blocks],
    )


def _span(words: Sequence[tuple[str, int, int]], first: int, size: int) -> Span:
    return words[first][1], words[first + size - 1][2]


def _words(text: str) -> list[tuple[str, int, int]]:
    """Every folded word with where it begins and ends."""
    from pipeline.leak_folding import fold_char

    words: list[tuple[str, int, int]] = []
    word, begin = "", 0
    for at, char in enumerate(text):
        folded = fold_char(char)
        if word and (not folded or folded.isspace() or folded[0] == " "):
            if not folded:  # an invisible character inside of a word parts nothing
                continue
            words.append((word, begin, at))
            word = ""
        if folded.strip():
            if not word:
                begin = at
            word += folded.strip()
            if folded[-1] == " ":  # an ideograph is a word of its own
                words.append((word, begin, at + 1))
                word = ""
    return [*words, (word, begin, len(text))] if word else words
