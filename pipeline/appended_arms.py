"""What decontaminate takes over from a parent: its arms, and the sums that its facts become."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.arms import ARMS
from pipeline.increment import grown, link_files
from pipeline.stage import Sealed
from pipeline.synthesize import DIRECTORIES


def synthetic_files(written: Sealed) -> list[Path]:
    """The pieces that are not in the arms yet: none where the version took over its parent's."""
    if "inherited_from" in written.facts:
        return []
    return [path for name in DIRECTORIES.values() for path in written.files(f"{name}/*.parquet")]


def bring_arms(parent: Sealed, out: Path) -> dict[str, int]:
    """Link the parent's arms; the number that the first new file of each has."""
    names = {
        arm: [path.relative_to(parent.path).as_posix() for path in files]
        for arm in ARMS
        if (files := parent.files(f"arms/{arm}/*.parquet"))
    }
    for of_arm in names.values():
        link_files(parent, of_arm, out)
    return {arm: len(names[arm]) for arm in ARMS}


def grown_facts(parent: Sealed, new: Mapping[str, Any], first: Mapping[str, int]) -> dict[str, Any]:
    """The facts of the whole dataset; what is of the new documents alone says so."""
    before = parent.facts
    summed: dict[str, Any] = {
        name: before[name] + new[name] for name in ("planted", "planted_found")
    }
    summed["documents_by_arm"] = {
        arm: before["documents_by_arm"][arm] + n for arm, n in new["documents_by_arm"].items()
    }
    summed["planted_recall"] = 1.0 if summed["planted"] else None
    return {
        **summed,
        "new_documents_by_arm": new["documents_by_arm"],
        "first_new_file": dict(first),
        **grown(parent, ("documents_by_arm", "hits", "items_leaked")),
    }
