"""The browser of a run's documents: many by filters, one with its journey, and what was rejected.

What a record was that no document came of (at ingest, or a draft that the teacher wrote) stands in
the stage's own table of rejects, and is listed from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.parquet_reader import open_reader
from catalog.render import in_words, number, page
from catalog.review_journal import standing
from catalog.runs_index import Run, open_run
from catalog.sample_files import Corpus, corpus_of, need
from catalog.sample_filters import (
    DECISIONS,
    HEADINGS,
    LABELS,
    ORDERS,
    Filters,
    read_filters,
    read_position,
    read_word,
)
from catalog.sample_journey import PART_CHARS, locate, read_journey
from catalog.sample_query import choices, count, find_page, read_cursor
from catalog.sample_rows import read_rows
from catalog.sample_search import search
from catalog.untrusted import one_line, shown

REJECTED = {"ingest": "records that became no document", "synthesize": "drafts that were rejected"}
REJECTS_A_PAGE = 50
REJECT_CHARS = 1_500
TONES = {"kept": "good", "synthetic": "new", "contaminated": "bad", "held_out": "warn"}


def show_samples(request: Request) -> Response:
    """A page of documents."""
    run = open_run(request)
    corpus, filters = corpus_of(run), read_filters(request.query_params)
    after = request.query_params.get("after", "")
    offered = choices(corpus)
    if filters.text:
        with open_reader("clean", corpus.every_file) as reader:
            found = search(reader, corpus, filters, after)
            rows = read_rows(reader, corpus, found.places)
        told: Mapping[str, Any] = {"found": found, "matches": None, "next": found.next}
    else:
        matches, cursor = count(corpus, filters), read_cursor(after)
        with open_reader("clean", corpus.every_file) as reader:
            places, more = find_page(reader, corpus, filters, cursor)
            rows = read_rows(reader, corpus, places)
        told = {"found": None, "matches": matches, "next": places[-1].cursor if more else None}
    return page(
        request, "samples.html", run=run, filters=filters, rows=rows, after=after, **told,
        selects=_selects(run, corpus, offered), orders=ORDERS if corpus.scores else {},
        total=count(corpus, Filters()), has_scores=bool(corpus.scores), **_words(),
    )  # fmt: skip


def _selects(
    run: Run, corpus: Corpus, offered: Mapping[str, list[tuple[str, int]]]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The filters with choices: name, heading, and (value, words) of each choice."""
    reasons = run.stages["clean"].ledger.dropped
    counted = {
        name: [(value, f"{value} ({number(n)})") for value, n in found]
        for name, found in offered.items()
        if len(found) > 1
    }
    selects = {
        "decision": [(d, words) for d, words in DECISIONS.items() if d != "not_scored"],
        "source": counted.get("source", []),
        "kind": counted.get("kind", []),
        "label": list(LABELS.items()) if corpus.labels else [],
        "language": counted.get("language", []),
        "licence": counted.get("licence", []),
        "arm": [(arm, arm) for arm, _ in corpus.arms],
        "reason": [
            (reason, f"{in_words(reason)} ({number(n)})")
            for reason, n in sorted(reasons.items(), key=lambda item: -item[1])
        ],
    }
    return [
        (name, HEADINGS.get(name, name).capitalize(), values)
        for name, values in selects.items()
        if values
    ]


def _words() -> dict[str, Any]:
    """What the templates of documents say and how."""
    return {
        "shown": shown, "one_line": one_line, "decisions": DECISIONS, "tones": TONES,
    }  # fmt: skip


def show_sample(request: Request) -> Response:
    """One document, and everything known about it through the stages."""
    run, doc_id = open_run(request), request.path_params["doc_id"].replace("\x00", "")
    corpus, start = corpus_of(run), read_position(request.query_params.get("from", "0"))
    with open_reader("clean", corpus.every_file) as reader:
        place = locate(reader, corpus, doc_id)
        if place is None:
            raise HTTPException(404, f"{run.name} has no document {doc_id[:80]!r}.")
        document = read_journey(reader, run, corpus, place, start)
    filtered = run.stages.get("train-filter")
    return page(
        request, "sample.html", run=run, doc=document, start=start, part_chars=PART_CHARS,
        threshold=None if filtered is None else filtered.facts.get("threshold"),
        threshold_by=None if filtered is None else filtered.facts.get("threshold_by"),
        corpus=corpus, person=standing(run.path).get(doc_id), **_words(),
    )  # fmt: skip


def show_rejected(request: Request) -> Response:
    """What a stage rejected before it was a document, with reason and evidence."""
    run, stage = open_run(request), request.path_params["stage"]
    if stage not in REJECTED:
        raise HTTPException(404, f"There is no list of what the stage {stage} rejected.")
    sealed = need(run, stage, "the list of what was rejected")
    path = str(sealed.file("rejects.parquet"))
    reason = read_word(request.query_params, "reason")
    begin = read_position(request.query_params.get("after", "0"))
    with open_reader(stage, [path]) as reader:
        rows = reader.rows(
            "SELECT * FROM read_parquet($files, file_row_number = true) "
            "WHERE file_row_number >= $begin AND ($reason = '' OR reason = $reason) "
            "ORDER BY file_row_number LIMIT $most",
            {
                "files": [path], "begin": begin, "reason": reason,
                "most": REJECTS_A_PAGE + 1,
            },
        )  # fmt: skip
    account = sealed.ledger
    return page(
        request, "rejected.html", run=run, stage=stage, told=REJECTED[stage], reason=reason,
        rows=[
            {**row, "text": (row.get("text") or "")[:REJECT_CHARS]} for row in rows[:REJECTS_A_PAGE]
        ],
        next=rows[-1]["file_row_number"] if len(rows) > REJECTS_A_PAGE else None,
        reasons=dict(sorted({**account.dropped, **account.failed}.items())), **_words(),
    )  # fmt: skip


ROUTES = [
    Route("/runs/{run}/samples", show_samples),
    Route("/runs/{run}/samples/{doc_id}", show_sample),
    Route("/runs/{run}/rejected/{stage}", show_rejected),
]
