"""`primer card RUN`: print the card, hold it against the manifests, or copy the dataset out."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.errors import InputError


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
    from pipeline.verify import sealed_stages

    stages = sealed_stages(run)
    if "card" not in stages:
        raise InputError("card", f"{run} has no sealed card yet", "run the recipe until card")
    click.echo((stages["card"][0] / "README.md").read_text(encoding="utf-8"))


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
