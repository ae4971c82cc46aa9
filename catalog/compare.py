"""Two versions or runs side by side: what differs, and by how much.

Everything is read from manifests (and the licences from the sealed handoff), so a comparison of two
corpora of any size costs nothing. What one of them does not know is "unknown", and never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.overview import reasons
from catalog.render import UNKNOWN, figure, in_words, page
from catalog.runs_index import Run, index_of, open_named
from catalog.sealed_files import read_json

Figures = dict[str, Any]
MOST_SETTINGS = 200


@dataclass(frozen=True)
class Row:
    """One figure of both; `change` says how far B is from A, or that it differs."""

    name: str
    a: str
    b: str
    differs: bool
    change: str


def show_comparison(request: Request) -> Response:
    """The form for two runs and, where both are named, what they have and have not in common."""
    names = [run.name for run in index_of(request).all()]
    asked = [request.query_params.get(side, "") for side in "ab"]
    only = request.query_params.get("only") == "differences"
    found = [open_named(request, name) for name in asked if name]
    sections = []
    if len(found) == 2:
        a, b = found
        for (title, of_a), (_, of_b) in zip(_sections(a, b), _sections(b, a), strict=True):
            rows = [*rows_of(of_a, of_b)]
            differing = sum(row.differs for row in rows)
            shown = [row for row in rows if row.differs] if only or title == "Settings" else rows
            sections.append((title, shown[:MOST_SETTINGS], len(rows), differing))
    return page(
        request, "compare.html", names=names, asked=asked, only=only, found=found, sections=sections
    )


def rows_of(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Row]:
    """Every figure that either has, in A's order."""
    for name in dict.fromkeys([*a, *b]):
        before, after = a.get(name), b.get(name)
        yield Row(name, _told(before), _told(after), before != after, change(before, after))


def change(before: Any, after: Any) -> str:
    """`+12 (+3.1 %)` between two numbers; `differs` between two others that are not the same."""
    if before == after:
        return ""
    if not (_is_number(before) and _is_number(after)):
        return "differs"
    difference = after - before
    sign = "+" if difference > 0 else "\N{MINUS SIGN}"
    told = f"{sign}{figure(abs(difference))}"
    return told if not before else f"{told} ({sign}{abs(100 * difference / before):.1f} %)"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return figure(value) if _is_number(value) else str(value)


def _sections(run: Run, other: Run) -> list[tuple[str, Figures]]:
    return [
        ("Rows kept by each stage", _rows(run)),
        ("Ledger by reason", _counted(run, _ledger(run), _ledger(other))),
        ("Licences", _licences(run, other)),
        ("Contamination", _contamination(run)),
        ("Tokens and arms", _tokens(run)),
        ("Models", _models(run)),
        ("How it was made", _making(run)),
        ("Settings", dict(_flat(run.recipe))),
    ]


def _facts(run: Run, stage: str) -> Mapping[str, Any]:
    return run.stages[stage].facts if stage in run.stages else {}


def _rows(run: Run) -> Figures:
    found: Figures = {}
    for name, sealed in run.stages.items():
        found[f"{name}: {sealed.ledger.unit} in"] = sealed.ledger.rows_in
        found[f"{name}: kept"] = sealed.ledger.kept
    return found | {"share kept by the filter": _facts(run, "apply-filter").get("kept_share")}


def _ledger(run: Run) -> Figures:
    return {
        f"{name}: {in_words(why)} ({kind})": rows
        for name, sealed in run.stages.items()
        for why, rows, kind in reasons(sealed.ledger)
    }


def _counted(run: Run, own: Figures, others: Figures) -> Figures:
    """A reason that the other run has took no row of this one, where this one's stage is sealed."""
    sealed = {name for name in others if name.partition(":")[0] in run.stages}
    return own | dict.fromkeys(sorted(sealed - own.keys()), 0)


def _licences(run: Run, other: Run) -> Figures:
    own, others = _licences_by_arm(run), _licences_by_arm(other)
    if own:
        own |= dict.fromkeys(sorted(others.keys() - own.keys()), 0)
    return {"of the whole": run.licence} | own


def _licences_by_arm(run: Run) -> Figures:
    """Documents by arm and licence, as the handoff states them."""
    if "handoff" not in run.stages:
        return {}
    record = read_json(run.stages["handoff"], "handoff.json") or {}
    return {
        f"{arm['name']}: {licence}": rows
        for arm in record.get("arms", [])
        for licence, rows in sorted(arm.get("licences", {}).items())
    }


def _contamination(run: Run) -> Figures:
    facts = _facts(run, "decontaminate")
    hits = {f"{name}: hits": n for name, n in sorted(facts.get("hits", {}).items())}
    leaked = {f"{name}: items leaked": n for name, n in facts.get("items_leaked", {}).items()}
    return hits | leaked | {"recall of planted leaks": facts.get("planted_recall")}


def _tokens(run: Run) -> Figures:
    facts = _facts(run, "tokenize")
    found: Figures = {key: facts.get(key) for key in ("vocabulary", "budget_tokens")}
    for arm, one in sorted(facts.get("arms", {}).items()):
        for key in ("tokens", "documents", "epochs"):
            found[f"{arm}: {key}"] = one.get(key)
        synthetic = [one.get(f"{part}_synthetic_tokens") for part in ("base", "anneal")]
        found[f"{arm}: synthetic tokens"] = None if None in synthetic else sum(synthetic)
    return {in_words(name): value for name, value in found.items()}


def _models(run: Run) -> Figures:
    facts, found = _facts(run, "evaluate"), Figures()
    for model in facts.get("models", []):
        name = f"{model.get('arm')} {model.get('type')}"
        for key in ("bits_per_byte", "decode_tokens_per_s", "peak_mem_mib", "verdict"):
            found[f"{name}: {in_words(key)}"] = model.get(key)
    return found | {"gate": facts.get("gate", {}).get("verdict")}


def _making(run: Run) -> Figures:
    first = next(iter(run.stages.values()), None)
    return {
        "parent version": run.parent or "none",
        "labels by": _facts(run, "label").get("annotator"),
        "seed": first.manifest.seed if first else None,
        "commit": first.manifest.code.get("commit") if first else None,
        "dataset's fingerprint": _fingerprint(run),
    }


def _fingerprint(run: Run) -> str | None:
    return run.stages["handoff"].manifest.fingerprint[:16] if "handoff" in run.stages else None


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for i, one in enumerate(value):
            yield from _flat(one, f"{name}[{i}]")
    else:
        yield name, "null" if value is None else value


ROUTES = [Route("/compare", show_comparison)]
