"""What the handoff's forms do: ask for it, decide it, let it go on; and what a trainer reports."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from catalog.handing_over import flow_of, journal_of, next_step
from catalog.prefect_api import PrefectApi
from catalog.runs_index import Run, open_run, without_paths
from catalog.security import check_form, require_token
from pipeline.approval import Decision, decide, parse_decision
from pipeline.errors import InputError, StageError
from pipeline.handoff_journal import Entry, attempt_of
from pipeline.offer import request_handoff
from pipeline.signed_delivery import DeliveryError
from pipeline.training_report import answer_of, delivery_of
from pipeline.versions import base_name


async def start_handoff(request: Request) -> Response:
    """Ask for a handoff, or for another one with a reason, and start the flow that does it."""
    require_token(request)
    form = await check_form(request)
    run, _, step = await run_in_threadpool(_look, request)
    if step not in {"start", "again"}:
        raise HTTPException(409, "Nothing is to be started here: look at how it stands.")
    by = _words(form, "by", 200)
    reason = _words(form, "reason", 4_096) if step == "again" else None
    async with PrefectApi(request.app.state.settings) as prefect:
        deployment = await prefect.find(_deployment_of(run))
        await _in_journal(request_handoff, run.path, by, reason)
        await prefect.start(deployment, *await run_in_threadpool(_parameters_and_key, run))
    return _back(run, "started")


async def go_on(request: Request) -> Response:
    """Wake the flow that has missed its answer; else start one, unless one is at work."""
    require_token(request)
    await check_form(request)
    run, entries, step = await run_in_threadpool(_look, request)
    if step not in {"go on", "decide"}:
        raise HTTPException(409, "Nothing is under way here.")
    attempt = attempt_of(entries)
    flow, answer = flow_of(attempt), answer_of(attempt[-1])
    async with PrefectApi(request.app.state.settings) as prefect:
        if flow is not None:
            if answer is not None and await prefect.wake(flow, answer.model_dump(mode="json")):
                return _back(run, "woken")
            if await prefect.is_under_way(flow):
                return _back(run, "at-work")
        await _start_another(prefect, run)
    return _back(run, "started")


async def decide_handoff(request: Request) -> Response:
    """Approve or reject what waits; the decision is on the disk before anyone is woken."""
    require_token(request)
    form = await check_form(request)
    run, entries, _ = await run_in_threadpool(_look, request)
    attempt, decision = attempt_of(entries), _decision(form)
    flow = flow_of(attempt)
    if not attempt or form.get("attempt") != attempt[0].at or flow is None:
        raise HTTPException(409, "What you decided on waits no more. Look at how it stands now.")
    async with PrefectApi(request.app.state.settings) as prefect:
        await prefect.check()
        await _in_journal(decide, run.path, decision, run.stages["handoff"].manifest.fingerprint)
        if not await prefect.wake(flow, decision.model_dump()) and decision.decision == "approve":
            await _start_another(prefect, run)
    return _back(run, "decided")


async def take_report(request: Request) -> Response:
    """What a trainer says of its work; whether it may say so is its signature's matter."""
    accept = request.app.state.settings.accept_report
    if accept is None:
        raise HTTPException(404, "This catalog takes no reports.")
    run, body = await run_in_threadpool(open_run, request), await request.body()
    try:
        told = await run_in_threadpool(accept, run.path, body, dict(request.headers))
    except DeliveryError as error:
        return JSONResponse({"error": str(error)}, 401)
    except StageError as error:  # whoever sent it may be anybody
        problem = without_paths(str(error), run.path.parent)
        return JSONResponse({"error": problem}, 422 if isinstance(error, InputError) else 500)
    return JSONResponse(dict(told))


def _look(request: Request) -> tuple[Run, list[Entry], str]:
    """The run, its journal, and what a person can do now."""
    run = open_run(request)
    entries = journal_of(run)
    return run, entries, next_step(run, entries)


def _words(form: FormData, name: str, most: int) -> str:
    given = str(form.get(name, "")).strip()
    if not 0 < len(given) <= most:
        raise HTTPException(
            400, f"The field {name!r} must be filled in, with {most} letters at most."
        )
    return given


def _decision(form: FormData) -> Decision:
    try:
        return parse_decision(
            str(form.get("decision", "")), _words(form, "by", 200), _words(form, "reason", 4_096)
        )
    except InputError as error:
        raise HTTPException(400, f"This is no decision: {error.problem}.") from error


async def _in_journal(write: Callable[..., object], *given: object) -> None:
    """Write an entry; 409 where somebody else was there first."""
    try:
        await run_in_threadpool(write, *given)
    except InputError as error:
        raise HTTPException(409, f"{error.problem}.") from error


def _deployment_of(run: Run) -> str:
    return f"handoff/{base_name(run.path)}"


def _parameters_and_key(run: Run) -> tuple[dict[str, object], str]:
    """The recipe that the run was made by, as `primer handoff` gives it; and a key that is the same
    for everybody who presses a button at one state of one attempt.
    """
    recipe = {"recipe": dict(run.recipe)} if run.recipe else {}
    delivery = delivery_of(run.path, run.stages["handoff"].manifest.fingerprint)
    return {**recipe, "run": run.name}, f"handoff-{delivery}-{len(attempt_of(journal_of(run)))}"


async def _start_another(prefect: PrefectApi, run: Run) -> None:
    deployment = await prefect.find(_deployment_of(run))
    await prefect.start(deployment, *await run_in_threadpool(_parameters_and_key, run))


def _back(run: Run, just: str) -> Response:
    return RedirectResponse(f"{run.address}/handoff?just={just}", 303)


ROUTES = [
    Route("/runs/{run}/handoff/start", start_handoff, methods=["POST"]),
    Route("/runs/{run}/handoff/go-on", go_on, methods=["POST"]),
    Route("/runs/{run}/handoff/decide", decide_handoff, methods=["POST"]),
    Route("/runs/{run}/report", take_report, methods=["POST"]),
]
