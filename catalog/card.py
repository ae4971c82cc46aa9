"""The dataset card, as it was sealed, with its pictures."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.markdown import render_markdown, split_head
from catalog.render import page
from catalog.runs_index import open_run
from catalog.sealed_files import DOWNLOADED, SHOWN, address_of
from pipeline.errors import StageError

CARD = "README.md"


def show_card(request: Request) -> Response:
    """The card's text; its head stands below it, as the hub reads it."""
    run = open_run(request)
    sealed = run.stages.get("card")
    if sealed is None:
        return page(request, "card.html", run=run, body=None, head={}, files=[])

    def own(name: str) -> str | None:
        is_sent = name in sealed.manifest.files and name.endswith((*SHOWN, *DOWNLOADED))
        return address_of(run, "card", name) if is_sent else None

    try:
        whole = sealed.file(CARD).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StageError("card", f"{CARD} cannot be read", "`primer verify` says more") from error
    head, text = split_head(whole)
    files = [
        (name, address_of(run, "card", name))
        for name in sorted(sealed.manifest.files)
        if name.endswith(tuple(DOWNLOADED))
    ]
    told = [(key, _told(value)) for key, value in head.items()]
    body = render_markdown(text, own)
    return page(request, "card.html", run=run, body=body, head=told, files=files)


def _told(value: object) -> list[str]:
    if isinstance(value, list):
        return [part for one in value for part in _told(one)]
    if isinstance(value, dict):
        return [", ".join(f"{key}: {' '.join(_told(one))}" for key, one in value.items())]
    return [str(value)]


ROUTES = [Route("/runs/{run}/card", show_card)]
