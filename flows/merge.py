"""`primer merge`: several model directories of one shape become one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


def merge_models(
    models: Sequence[Path], base: Path | None, out: Path, changes: Sequence[str]
) -> None:
    """Merge, and print how and where."""
    from downstream.derived import parse_settings
    from downstream.merge import STAGE, MergeConfig, merge

    config = parse_settings(STAGE, MergeConfig, changes)
    result = merge(models, base, out, config)
    click.echo(
        f"{out}: {result['method']} of {len(models)} models, {result['tensors']:,} tensors, "
        "with its lineage.json"
    )
