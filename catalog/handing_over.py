"""The handoff's page: how it stands, what a person decides by, and the forms that move it.

A decision is written to the journal of the run first, where one of two who decide at once is
refused; then the flow that waits is woken, or another one started, through Prefect's API. So a
server that is away loses nothing: the button `Go on` does the rest when it is back. A trainer
reports to `/runs/<run>/report`; who checks its signature is given by the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.markdown import render_markdown, split_head
from catalog.prefect_api import NO_SERVER
from catalog.render import page
from catalog.runs_index import Run, open_run
from pipeline.handoff_journal import Entry, attempt_of, journal_directory, read_journal
from pipeline.offer import ENDED, PREVIEW, may_request

TOLD = {
    None: "Nobody has asked for it yet.",
    "requested": "Asked for. The dataset is being verified.",
    "verified": "Every hash and ledger holds. The preview is being published.",
    "previewed": "The preview is published.",
    "waiting": "It waits for a person’s decision.",
    "approved": "Approved. The training is being started.",
    "rejected": "Rejected. It can be offered again, with a reason.",
    "triggered": "The training was started, and is to report.",
    "running": "The trainer is at work.",
    "done": "The training is done. The evaluation follows.",
    "failed": "It failed.",
    "evaluated": "The models are evaluated. The gate decides.",
    "promoted": "The gate says: promote.",
    "held": "The gate says: hold.",
}
KIND = {
    None: "", "waiting": "warn", "rejected": "bad", "failed": "bad", "held": "warn",
    "promoted": "good",
}  # fmt: skip
JUST = {
    "started": "The handoff was started. Its next word appears in the journal in a moment.",
    "decided": "The decision is in the journal, and the flow goes on with it.",
    "woken": "The flow that waited goes on with what the journal says.",
    "at-work": "A flow is at work on it already; nothing was started.",
}
MAX_PREVIEW_BYTES = 500_000


def show_handoff(request: Request) -> Response:
    """How the handoff stands, who decided what, and what can be done now."""
    run = open_run(request)
    entries = journal_of(run)
    state = entries[-1].state if entries else None
    return page(
        request,
        "handoff.html",
        run=run,
        sealed=run.stages.get("handoff"),
        entries=list(reversed(entries)),
        state=state,
        told=TOLD.get(state, ""),
        kind=KIND.get(state, "new"),
        step=next_step(run, entries),
        waits=flow_of(attempt_of(entries)),
        preview=_preview(run),
        refreshes=state not in {None, *ENDED},
        no_server=None if request.app.state.settings.prefect_api_url else NO_SERVER,
        just=JUST.get(request.query_params.get("just", "")),
    )


def journal_of(run: Run) -> list[Entry]:
    """The journal of the sealed dataset; empty where no dataset is sealed yet."""
    if "handoff" not in run.stages:
        return []
    return read_journal(run.path, run.stages["handoff"].manifest.fingerprint)


def next_step(run: Run, entries: Sequence[Entry]) -> str:
    """What a person can do now: start, offer again, decide, or let it go on."""
    if "handoff" not in run.stages:
        return "none"
    if may_request(run.path):
        return "start"
    if entries[-1].state in ENDED:
        return "again"
    return "decide" if entries[-1].state == "waiting" else "go on"


def flow_of(attempt: Sequence[Entry]) -> str | None:
    """The flow run that carries an attempt on; None where a process does, or none is known."""
    named = [e.details["flow_run_id"] for e in attempt if e.details.get("flow_run_id")]
    return str(named[-1]) if named else None


def _preview(run: Run) -> Markup | None:
    """What is shown for approval, as the flow published it beside the journal."""
    if "handoff" not in run.stages:
        return None
    fingerprint = run.stages["handoff"].manifest.fingerprint
    path: Path = journal_directory(run.path, fingerprint) / PREVIEW
    try:
        with path.open("rb") as file:
            text = file.read(MAX_PREVIEW_BYTES).decode(errors="replace")
    except OSError:
        return None
    return render_markdown(split_head(text)[1], lambda _: None, deeper=1)


ROUTES = [Route("/runs/{run}/handoff", show_handoff)]
