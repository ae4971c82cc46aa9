"""Pictures and records of a run, as files: only what a manifest names, only as what it is.

Pictures are shown; records are text to download. A sealed HTML report is a download too and never
a page of this server: it would run with our origin.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from catalog.render import segment
from catalog.runs_index import Run, open_run
from pipeline.errors import StageError
from pipeline.stage import Sealed

SHOWN = {".png": "image/png"}
DOWNLOADED = {
    ".csv": "text/plain",
    ".html": "application/octet-stream",
    ".json": "application/json",
    ".jsonl": "text/plain",
    ".md": "text/plain",
    ".yaml": "text/plain",
}


def address_of(run: Run, stage: str, name: str) -> str:
    """Where a sealed file of a run is served."""
    parts = "/".join(segment(part) for part in name.split("/"))
    return f"{run.address}/files/{segment(stage)}/{parts}"


def pictures_of(sealed: Sealed) -> list[str]:
    """The names of the pictures that a stage sealed."""
    return sorted(name for name in sealed.manifest.files if Path(name).suffix in SHOWN)


def read_json(sealed: Sealed, name: str) -> Any:
    """A sealed JSON file; None where the stage sealed none of that name (an older Primer's)."""
    if name not in sealed.manifest.files:
        return None
    try:
        return json.loads(sealed.file(name).read_bytes())
    except (OSError, ValueError) as error:
        raise StageError(
            sealed.manifest.stage, f"{name} is missing or damaged",
            "`primer verify` on this run says which; run the recipe again to make it anew",
        ) from error  # fmt: skip


def send_file(request: Request) -> Response:
    """One sealed file; 404 for all that no manifest names, or that is not to be sent."""
    run, name = open_run(request), request.path_params["name"]
    sealed = run.stages.get(request.path_params["stage"])
    if sealed is None or name not in sealed.manifest.files:
        raise HTTPException(404, "No file of this name was sealed here.")
    suffix, path = Path(name).suffix, sealed.path / name
    if suffix not in SHOWN and suffix not in DOWNLOADED:
        raise HTTPException(404, "Files of this kind are not sent by the catalog.")
    if not path.is_file() or not path.resolve().is_relative_to(sealed.path.resolve()):
        raise HTTPException(404, "The file that was sealed here is gone.")
    tag = f'"{sealed.manifest.files[name].sha256}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if suffix in SHOWN:
        return FileResponse(path, media_type=SHOWN[suffix], headers=headers)
    return FileResponse(
        path,
        media_type=DOWNLOADED[suffix],
        headers=headers,
        filename=f"{run.name}-{Path(name).name}",
    )


ROUTES = [Route("/runs/{run}/files/{stage}/{name:path}", send_file)]
