"""`primer card RUN`: print the card, hold it against the manifests, or copy the dataset out."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.errors import StageError


def work_on_card(run: Path, is_check: bool, place: Path | None) -> bool:
    """Check, publish, or print where neither is asked for; False where the check found a fault."""
    if is_check and not check(run):
        return False
    if place is not None:
        publish(run, place)
    elif not is_check:
        show_card(run)
    return True


def show_card(run: Path) -> None:
    """Print README.md of a run's sealed card."""
    from pipeline.card_publish import open_card

    card = open_card(run)
    if not (card.path / "README.md").is_file():
        raise StageError(
            "card", f"{card.path / 'README.md'} is missing", "run it again --from card"
        )
    click.echo((card.path / "README.md").read_text(encoding="utf-8", errors="replace"))


def check(run: Path) -> bool:
    """Print every fault of a run's card, one a line; whether there is none."""
    from pipeline.card_check import check_card

    faults = check_card(run)
    for fault in faults:
        click.echo(fault)
    if not faults:
        click.echo(f"{run}: the card says what the manifests say, and fits its schema")
    return not faults


def publish(run: Path, place: Path) -> None:
    """Copy the dataset of a run to a directory that is not there yet."""
    from pipeline.card_publish import publish_card

    files = publish_card(run, place)
    click.echo(f"{place}: {files} files; check them with sha256sum --check SHA256SUMS")
