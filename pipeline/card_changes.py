"""What changed since the parent version, as tables: of the record that `pipeline.changes` makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.card_facts import Row


def parent_of(changes: Mapping[str, Any]) -> str | None:
    """The name of the version before; None for a first one."""
    parent = changes["parent"]
    return None if parent is None else str(parent["run"])


def version_of(changes: Mapping[str, Any]) -> str:
    """One more than the parent's, whose run is `name` if it is the first, else `name-vN`."""
    parent = parent_of(changes)
    if parent is None:
        return "1.0.0"
    numbered = re.search(r"-v(\d+)$", parent)
    return f"{int(numbered[1]) + 1 if numbered else 2}.0.0"


def changed_stages(changes: Mapping[str, Any]) -> list[Row]:
    """Rows in and kept of each stage, new, before and all, and why it has no new ones."""
    rows = []
    for one in changes["stages"]:
        accounts = (one["new"], one["before"], one["all"])
        cells = [a[side] if a else "" for a in accounts for side in ("rows_in", "kept")]
        if one["inherited_from"]:
            told = f"taken over from {one['inherited_from']}"
        else:
            told = "" if one["new"] else "takes in all again"
        rows.append((one["stage"], *cells, told))
    return rows


def changed_contamination(changes: Mapping[str, Any]) -> list[Row]:
    """Documents removed and items found by benchmark: new and all."""
    found = changes["contamination"]
    return [
        (name, hits["new"], hits["all"], *_new_and_all(found["items_leaked"].get(name)))
        for name, hits in found["hits"].items()
    ]


def changed_licences(changes: Mapping[str, Any]) -> list[Row]:
    """Documents of the arm raw by licence: new and all."""
    return [(name, *_new_and_all(counts)) for name, counts in changes["licences"].items()]


def changed_arms(changes: Mapping[str, Any]) -> list[Row]:
    """Documents, new and all, and tokens, before and now, by arm."""
    tokens = changes["tokens"]["by_arm"]
    return [
        (arm, *_new_and_all(counts), tokens[arm]["before"], tokens[arm]["now"])
        for arm, counts in changes["documents_by_arm"].items()
    ]


def changed_drift(changes: Mapping[str, Any]) -> list[Row]:
    """Strata of the new documents with their verdicts; none where nothing was compared."""
    drift = changes["drift"] or {"strata": []}
    return [(s["stratum"], s["verdict"], s["documents"]) for s in drift["strata"]]


def _new_and_all(counts: Mapping[str, int] | None) -> tuple[int | None, int | None]:
    return (counts["new"], counts["all"]) if counts else (None, None)
