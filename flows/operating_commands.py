"""The commands that live with a run: serve, append, resume, hand over, look.

Like those of `flows.main`, each imports what costs time when it is called.
"""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
CHANGES = click.option("--set", "changes", multiple=True, metavar="SECTION.FIELD=VALUE")


@click.command()
@click.argument("recipes", nargs=-1, required=True, type=PATH, metavar="RECIPE...")
@CHANGES
def serve(recipes: tuple[Path, ...], changes: tuple[str, ...]) -> None:
    """Register the deployments and schedules of RECIPE and work on them, on this machine."""
    from flows.serve import serve_recipes

    serve_recipes(recipes, changes)


@click.command()
@click.argument("run")
@CHANGES
def append(run: str, changes: tuple[str, ...]) -> None:
    """Append a version to the dataset of RUN: new shards only, with its labels and filter."""
    from flows.append import append_version

    append_version(run, changes)


@click.command()
@click.argument("run", required=False)
def resume(run: str | None) -> None:
    """Go on with RUN, or with every run that crashed or was cancelled."""
    from flows.resume import resume_runs

    resume_runs(run)


@click.command()
@click.argument("run")
@click.option("--approve", is_flag=True, help="Approve what waits; --by and --reason are a must.")
@click.option("--reject", is_flag=True, help="Reject what waits; --by and --reason are a must.")
@click.option("--by", metavar="NAME", help="Who decides.")
@click.option("--reason", metavar="TEXT", help="Why.")
def handoff(run: str, approve: bool, reject: bool, by: str | None, reason: str | None) -> None:
    """Verify the dataset of RUN, publish its preview, wait for approval, start the training."""
    from flows.hand_over import hand_over

    hand_over(run, approve=approve, reject=reject, by=by, reason=reason)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8_080, show_default=True)
@click.option("--no-token", is_flag=True, help="Let anyone on loopback press the buttons.")
def catalog(host: str, port: int, no_token: bool) -> None:
    """Show datasets, cards, samples, lineage and evaluations in a browser."""
    from catalog.serve import serve_catalog

    serve_catalog(host, port, no_token)


COMMANDS = (serve, append, resume, handoff, catalog)
