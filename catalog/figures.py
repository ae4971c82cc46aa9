"""The figures of a run, as pages: the waterfall, the filter's report, the contamination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.axes import Axes
from catalog.leaks import Asked, find_leaks, kinds_of_leaks
from catalog.render import page
from catalog.runs_index import Run, open_run
from catalog.sample_files import need
from catalog.sample_filters import read_word
from catalog.sealed_files import address_of, pictures_of, read_json
from catalog.untrusted import one_line, shown
from catalog.waterfall import UNITS, by_source, cleaning, losses, narrowing
from pipeline.stage import Sealed

PICTURES = {
    "calibration": "How often texts of each score really were good",
    "importance": "What shuffling each feature costs",
    "kept_share": "Precision and recall by how much is kept",
    "leakage": "How near the nearest training text is to each test text",
    "learning_curve": "What fewer labels would have reached",
    "precision_recall": "Precision against recall",
    "scores": "Scores of good and of other texts",
}
IMPORTANCES = 20


def show_waterfall(request: Request) -> Response:
    """From sources to tokens."""
    run = open_run(request)
    need(run, "ingest", "the waterfall")
    unit = request.query_params.get("unit", "rows")
    columns, sources = by_source(run)
    return page(
        request, "waterfall.html", run=run, unit=unit if unit in UNITS else "rows", units=UNITS,
        steps=narrowing(run), stages=losses(run, run.address), columns=columns, sources=sources,
        kinds=cleaning(run) if "clean" in run.stages else {}, one_line=one_line,
        tokens=run.stages["tokenize"].facts if "tokenize" in run.stages else None,
    )  # fmt: skip


def show_filter(request: Request) -> Response:
    """How good the filter is, where it cuts, and what that keeps."""
    run = open_run(request)
    sealed = need(run, "train-filter", "the filter's report")
    metrics = read_json(sealed, "report/metrics.json") or {}
    curve = metrics.get("curve") or []
    most_tokens = max((point.get("kept_tokens") or 0 for point in curve), default=0)
    bins = metrics.get("calibration") or []
    return page(
        request, "filter.html", run=run, metrics=metrics, facts=sealed.facts, curve=curve,
        shares=Axes(), tokens=Axes(x_highest=most_tokens or 1.0), most_tokens=most_tokens,
        by_recall=sorted(curve, key=lambda point: point.get("recall") or 0.0), bins=bins,
        importances=_importances(metrics.get("importance") or {}), pictures=_pictures(run, sealed),
        one_line=one_line,
    )  # fmt: skip


def _importances(found: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """(family or feature, PR-AUC lost, least, most) of the most important, the first one first."""
    rows = []
    for name, given in found.items():
        told = given if isinstance(given, Mapping) else {"lost": given}
        lost = float(told.get("lost") or 0.0)
        rows.append((name, lost, float(told.get("least", lost)), float(told.get("most", lost))))
    return sorted(rows, key=lambda row: -row[1])[:IMPORTANCES]


def _pictures(run: Run, sealed: Sealed) -> list[tuple[str, str]]:
    """(address, words) of the sealed plots."""
    return [
        (
            address_of(run, "train-filter", name),
            PICTURES.get(stem := name.rsplit("/", 1)[-1][:-4], stem.replace("_", " ")),
        )
        for name in pictures_of(sealed)
    ]


def show_contamination(request: Request) -> Response:
    """What leaked a benchmark, with the evidence."""
    run = open_run(request)
    sealed = need(run, "decontaminate", "the evidence of contamination")
    given = {name: read_word(request.query_params, name) for name in ("benchmark", "kind", "doc")}
    asked, after = Asked(**given), request.query_params.get("after", "")
    rows, following, total = find_leaks(sealed, asked, after)
    counted = kinds_of_leaks(sealed)
    return page(
        request, "contamination.html", run=run, rows=rows, next=following, total=total,
        after=after, asked=asked, verdicts=read_json(sealed, "benchmarks.json") or [],
        planted=read_json(sealed, "planted.json"), facts=sealed.facts,
        benchmarks=sorted({benchmark for benchmark, *_ in counted}),
        kinds=sorted({kind for _, kind, _ in counted}),
        shown=shown, one_line=one_line,
    )  # fmt: skip


ROUTES = [
    Route("/runs/{run}/waterfall", show_waterfall),
    Route("/runs/{run}/filter", show_filter),
    Route("/runs/{run}/contamination", show_contamination),
]
