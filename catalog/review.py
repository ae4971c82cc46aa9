"""The review queue: documents whose label is disputed, for a person to decide.

Everybody may read it; to decide needs the catalog's token. The page works without a script: each
document is a form of its own, and the page that answers it shows the queue without the document.
"""

from __future__ import annotations

import unicodedata
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from catalog.parquet_reader import open_reader
from catalog.render import page
from catalog.review_journal import FOLDER, LABELS, decide, standing
from catalog.review_queue import ITEMS_A_PAGE, find_disputed, open_items
from catalog.runs_index import Run, open_run
from catalog.sample_files import corpus_of, need
from catalog.sample_filters import DECISIONS, read_position
from catalog.samples import TONES
from catalog.security import check_form, require_token
from catalog.untrusted import one_line, shown
from pipeline.errors import InputError
from pipeline.rubrics import load_rubric

MAX_NAME, MAX_NOTE = 80, 1_000  # characters
DECIDED_SHOWN = 50


def show_queue(request: Request) -> Response:
    """The queue, most disputed first, and what was decided lately."""
    run = open_run(request)
    labels = need(run, "label", "the review queue")
    corpus, decided = corpus_of(run), standing(run.path)
    begin = read_position(request.query_params.get("skip", "0"))
    with open_reader("label", corpus.every_file) as reader:
        queue = find_disputed(reader, corpus, decided)
        items = open_items(reader, corpus, queue[begin : begin + ITEMS_A_PAGE])
    return page(
        request, "review.html", run=run, items=items, left=len(queue), begin=begin,
        next=begin + ITEMS_A_PAGE if begin + ITEMS_A_PAGE < len(queue) else None,
        decided=list(reversed(decided.values()))[:DECIDED_SHOWN], all_decided=len(decided),
        done=request.query_params.get("done", "")[:80],
        by=request.query_params.get("by", "")[:MAX_NAME], file=f"{FOLDER}/{LABELS}",
        rubrics=_rubrics(labels.manifest.config), decisions=DECISIONS, tones=TONES,
        shown=shown, one_line=one_line,
    )  # fmt: skip


def _rubrics(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(ref, text) of the rubrics that were asked under, where they can still be read."""
    found = {}
    for name in (config.get("LabelConfig", {}).get("rubrics") or {}).values():
        try:
            rubric = load_rubric(str(name))
        except InputError:
            continue
        found[rubric.ref] = rubric.text
    return sorted(found.items())


async def take_decision(request: Request) -> Response:
    """A score, or the withdrawal of one; then back to the queue."""
    require_token(request)
    form = await check_form(request)
    return await run_in_threadpool(_take, request, form)


def _take(request: Request, form: FormData) -> Response:
    run = open_run(request)
    need(run, "label", "the review queue")
    doc_id, by = _line(form, "doc_id", 200), _line(form, "annotator", MAX_NAME)
    note = _line(form, "note", MAX_NOTE)
    if form.get("action") == "withdraw":
        decide(run.path, doc_id, None, by, note, None)
    else:
        score = str(form.get("human_score", ""))
        if score not in set("012345"):
            raise HTTPException(400, "Choose a score from 0 to 5.")
        decide(run.path, doc_id, int(score), by, note, _rubric_of(run, doc_id))
    told = urlencode({"done": doc_id, "by": by})
    return RedirectResponse(f"{run.address}/review?{told}", status_code=303)


def _rubric_of(run: Run, doc_id: str) -> str:
    """The rubric that the document was read under; 404 for one that was never labelled."""
    files = corpus_of(run).labels
    with open_reader("label", files) as reader:
        rows = reader.rows(
            "SELECT rubric FROM read_parquet($files) WHERE doc_id = $doc_id LIMIT 1",
            {"files": list(files), "doc_id": doc_id},
        )
    if not rows:
        raise HTTPException(404, "This document is not among those that were labelled.")
    return str(rows[0]["rubric"])


def _line(form: FormData, name: str, most: int) -> str:
    """A text that must be given: on one line, without what cannot be seen."""
    given = form.get(name)
    text = given if isinstance(given, str) else ""
    words = " ".join("".join(c if _is_seen(c) else " " for c in text).split())
    if not words:
        told = {"annotator": "your name", "note": "the reason"}.get(name, name)
        raise HTTPException(400, f"Give {told}: it stands beside the decision for good.")
    if len(words) > most:
        raise HTTPException(400, f"Keep {name} within {most} characters.")
    return words


def _is_seen(char: str) -> bool:
    return unicodedata.category(char)[0] != "C"


ROUTES = [
    Route("/runs/{run}/review", show_queue, methods=["GET"]),
    Route("/runs/{run}/review", take_decision, methods=["POST"]),
]
