"""What a version changed against its parent, from the manifests of the version alone.

Rows in, kept and dropped of every stage, for the new documents and for all versions together; the
kept share of both; how the new documents have drifted from what the filter learnt from; leaks of
benchmarks; licences, documents and tokens. Every stage states what came before it
(`increment.grown`), so the parent's directory is not needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipeline.arms import ARMS
from pipeline.increment import account
from pipeline.ledger import Ledger
from pipeline.records import read_batches
from pipeline.stage import Sealed


def changes_since_parent(needs: Mapping[str, Sealed]) -> dict[str, Any]:
    """The record; `{"parent": null}` for a first version.

    `needs` are the stages up to tokenize. A share is null where no row came in, and `drift` where
    nothing was compared.
    """
    if "parent" not in needs["ingest"].facts:
        return {"parent": None}
    return {
        "parent": {
            "run": needs["ingest"].facts["parent"]["run"],
            "fingerprints": {name: s.facts["parent"]["fingerprint"] for name, s in needs.items()},
        },
        "files": _files(needs["ingest"]),
        "stages": [_rows(name, sealed) for name, sealed in needs.items()],
        "kept_share": _kept_share(needs["apply-filter"]),
        "drift": needs["apply-filter"].facts["drift"],
        "contamination": _contamination(needs["decontaminate"]),
        "documents_by_arm": _documents(needs["decontaminate"]),
        "licences": _licences(needs["decontaminate"]),
        "tokens": _tokens(needs["tokenize"]),
    }


def _files(ingested: Sealed) -> dict[str, Any]:
    facts = ingested.facts
    names = ("changed_files", "removed_files", "removed_first")
    return {"new_by_source": facts["files_by_source"], **{name: facts[name] for name in names}}


def _rows(name: str, sealed: Sealed) -> dict[str, Any]:
    """A stage's accounts; one that is inherited, or takes in all rows again, has none of new."""
    origin, told = sealed.facts.get("inherited_from"), sealed.facts["parent"]
    mine = asdict(sealed.ledger)
    return {
        "stage": name,
        "inherited_from": origin and origin["run"],
        "new": None if origin or told["again"] else mine,
        "before": mine if origin else told["before"],
        "all": asdict(account(sealed)),
    }


def _kept_share(applied: Sealed) -> dict[str, float | None]:
    before = Ledger.from_json(applied.facts["parent"]["before"])
    accounts = {"new": applied.ledger, "before": before, "all": account(applied)}
    return {of: ledger.kept / ledger.rows_in if ledger.rows_in else None
            for of, ledger in accounts.items()}  # fmt: skip


def _contamination(arms: Sealed) -> dict[str, Any]:
    """Documents that hold an item, by benchmark, and items that some document holds."""
    before = arms.facts["parent"]
    return {
        figure: {
            name: {"new": now - before[figure].get(name, 0), "all": now}
            for name, now in arms.facts[figure].items()
        }
        for figure in ("hits", "items_leaked")
    }


def _documents(arms: Sealed) -> dict[str, dict[str, int]]:
    before, all_of = arms.facts["parent"]["documents_by_arm"], arms.facts["documents_by_arm"]
    return {arm: {"new": all_of[arm] - before[arm], "all": all_of[arm]} for arm in ARMS}


def _licences(arms: Sealed) -> dict[str, dict[str, int]]:
    """Documents of the arm raw by licence, "unknown" where there is none."""
    first = f"{arms.facts['first_new_file']['raw']:05}"
    files = arms.files("arms/raw/*.parquet")
    new = _count([path for path in files if path.stem >= first])
    all_of = new + _count([path for path in files if path.stem < first])
    return {name: {"new": new[name], "all": all_of[name]} for name in sorted(all_of)}


def _count(files: list[Path]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for batch in read_batches(files, ["licence"]):
        for row in pc.value_counts(batch["licence"]).to_pylist():
            counts[row["values"] or "unknown"] += row["counts"]
    return counts


def _tokens(tokenized: Sealed) -> dict[str, Any]:
    """Tokens there and budget, then and now, by arm."""
    facts, before = tokenized.facts, tokenized.facts["parent"]
    return {
        "budget": {"before": before["budget_tokens"], "now": facts["budget_tokens"]},
        "by_arm": {
            arm: {"before": before["arms"][arm]["tokens"], "now": facts["arms"][arm]["tokens"]}
            for arm in ARMS
        },
    }
