"""The first page, datasets and their versions with a search; and the summary of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.handing_over import journal_of
from catalog.render import page
from catalog.runs_index import Run, index_of, open_run
from catalog.sealed_files import address_of, pictures_of
from pipeline.errors import StageError
from pipeline.ledger import Ledger

# What a picture shows, by its file's name; others are told by their names.
TOLD = {
    "agreement": "How far the annotators agree",
    "cleaning": "What each cleaning rule took",
    "drift": "What was filtered against what the filter was trained on",
    "labels": "How many documents got each score",
    "scores": "The filter's scores",
    "unlabelled": "Why documents stayed without a label",
    "waterfall": "What became of the rows, stage by stage",
}


@dataclass(frozen=True)
class Dataset:
    """A dataset: its versions, newest first. The oldest gives it its name."""

    name: str
    versions: Sequence[Run]

    @property
    def newest(self) -> Run:
        """The version that counts."""
        return self.versions[0]


def show_datasets(request: Request) -> Response:
    """Every dataset, or those that hold all words of the search."""
    asked = request.query_params.get("q", "").strip()[:200]
    runs = index_of(request).all()
    datasets = group_versions(runs)
    wanted = asked.casefold().split()
    found = [d for d in datasets if any(all(w in r.words for w in wanted) for r in d.versions)]
    rows = [(dataset, [summarize(run) for run in dataset.versions]) for dataset in found]
    return page(request, "index.html", asked=asked, rows=rows, among=len(datasets))


def group_versions(runs: Sequence[Run]) -> list[Dataset]:
    """Runs in chains, by the parent that each run's recipe names; the newest dataset first."""
    by_name = {run.name: run for run in runs}
    chains: dict[str, list[tuple[int, Run]]] = {}
    for run in runs:
        ancestors = chain_of(run, by_name)
        chains.setdefault(ancestors[-1].name, []).append((len(ancestors), run))
    datasets = [
        Dataset(name, [run for _, run in sorted(chain, key=lambda one: -one[0])])
        for name, chain in chains.items()
    ]
    return sorted(datasets, key=lambda dataset: sealed_at(dataset.newest), reverse=True)


def chain_of(run: Run, by_name: Mapping[str, Run]) -> list[Run]:
    """The run, its parent, the parent's parent; up to where a parent is not here (or a circle)."""
    chain = [run]
    while (parent := by_name.get(chain[-1].parent or "")) is not None and parent not in chain:
        chain.append(parent)
    return chain


def sealed_at(run: Run) -> str:
    """When the last of its stages began, as ISO 8601; empty where nothing is sealed."""
    return max((sealed.manifest.started_at for sealed in run.stages.values()), default="")


def summarize(run: Run) -> dict[str, Any]:
    """What one looks for first; None is what the manifests do not know."""
    facts = {name: sealed.facts for name, sealed in run.stages.items()}
    kept = facts.get("apply-filter", {})
    last = list(run.stages.values())[-1:]
    spends = [s.manifest.spend for s in run.stages.values() if s.manifest.spend]
    return {
        "run": run,
        "last": last[0].path.name if last else None,
        "at": sealed_at(run),
        "documents": run.stages["decontaminate"].ledger.kept if "decontaminate" in facts else None,
        "kept_share": kept.get("kept_share"),
        "tokens": facts.get("tokenize", {}).get("budget_tokens"),
        "labels_by": facts.get("label", {}).get("annotator"),
        "labels_by_llm": facts.get("label", {}).get("annotator_is_llm"),
        "cost": sum(spend.cost for spend in spends) if spends else None,
        "currency": spends[0].currency if spends else None,
        "gate": facts.get("evaluate", {}).get("gate", {}).get("verdict"),
        "handoff": _handoff_state(run),
    }


def _handoff_state(run: Run) -> str | None:
    """The last word of the handoff's journal; a damaged one is told on its own page."""
    try:
        entries = journal_of(run)
    except StageError:
        return "damaged journal"
    return entries[-1].state if entries else None


def show_run(request: Request) -> Response:
    """The journey of a run: what went in, what was kept, why the rest was not, what is stale."""
    run = open_run(request)
    by_name = {other.name: other for other in index_of(request).all()}
    stages = [_told(name, run) for name in run.stages]
    versions = next(d.versions for d in group_versions([*by_name.values()]) if run in d.versions)
    return page(
        request,
        "run.html",
        run=run,
        summary=summarize(run),
        stages=stages,
        total_s=sum(sealed.manifest.seconds for sealed in run.stages.values()),
        versions=versions,
        pictures=_pictures(run),
    )


def _told(name: str, run: Run) -> dict[str, Any]:
    sealed = run.stages[name]
    account = sealed.ledger
    return {
        "name": name,
        "directory": sealed.path.name,
        "ledger": account,
        "dropped": sum(account.dropped.values()),
        "failed": sum(account.failed.values()),
        "kept_share": account.kept / account.rows_in if account.rows_in else None,
        "reasons": reasons(account),
        "seconds": sealed.manifest.seconds,
        "stale": name in run.stale,
        "fingerprint": sealed.manifest.fingerprint,
    }


def reasons(account: Ledger) -> list[tuple[str, int, str]]:
    """(reason, rows, dropped or failed), the most frequent first."""
    found = [(why, n, "dropped") for why, n in account.dropped.items() if n]
    found += [(why, n, "failed") for why, n in account.failed.items() if n]
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _pictures(run: Run) -> list[tuple[str, str]]:
    """(address, what it shows) of the card's pictures."""
    if "card" not in run.stages:
        return []
    found = pictures_of(run.stages["card"])
    stems = [(name, name.rpartition("/")[2].removesuffix(".png")) for name in found]
    return [
        (address_of(run, "card", name), TOLD.get(stem, stem.replace("_", " ")))
        for name, stem in stems
    ]


ROUTES = [Route("/", show_datasets), Route("/runs/{run}", show_run)]
