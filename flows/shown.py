"""What a run shows on Prefect's pages: how far it is, every stage's account, the dataset card.

These are artifacts, which Prefect keeps by key: the newest is shown first, and every run has its
own. They are for looking at; what counts stands in the manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.step import Step


def show_progress(total: int) -> Callable[[], None]:
    """Show a bar; returns what moves it by one of `total` stages."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    bar: Any = create_progress_artifact(0.0, key="stages", description=f"{total} stages to seal")
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        update_progress_artifact(bar, progress=100 * done / total)

    return advance


def show_card(card: Path) -> None:
    """The dataset card, rendered."""
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(
        key="dataset-card", markdown=card.read_text(), description="The dataset card of this run"
    )


def show_ledger(plan: Mapping[str, Step]) -> None:
    """What came into each sealed stage, and what became of it."""
    from prefect.artifacts import create_table_artifact

    rows = [row for row in map(ledger_row, plan.values()) if row is not None]
    create_table_artifact(
        key="ledger", table=rows, description="In = kept + dropped + failed, in every stage"
    )


def ledger_row(step: Step) -> dict[str, Any] | None:
    """A stage's account as a row; None where it is not sealed."""
    sealed = step.sealed()
    if sealed is None:
        return None
    account = sealed.ledger
    return {
        "stage": step.stage.directory,
        "of": account.unit,
        "in": account.rows_in,
        "kept": account.kept,
        "dropped": _reasons(account.dropped),
        "failed": _reasons(account.failed),
        "seconds": sealed.manifest.seconds,
    }


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())) or "0"
