"""The commands that live with a run: serve, append, resume, hand over, look.

Like those of `flows.main`, each imports what costs time when it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

PATH = click.Path(path_type=Path)
CHANGES = click.option("--set", "changes", multiple=True, metavar="SECTION.FIELD=VALUE")


@click.command()
@click.argument("recipes", nargs=-1, required=True, type=PATH, metavar="RECIPE...")
@click.option("--limit", type=click.IntRange(1), default=2, show_default=True, help="Runs at once.")
@click.option("--ui-port", type=click.IntRange(0, 65_535), default=4_200, show_default=True)
@click.option("--no-schedules", is_flag=True, help="Start nothing but what is asked for.")
@click.option("--once", is_flag=True, help="Work on what is due now, and end.")
@click.option("--dry-run", is_flag=True, help="Print a prefect.yaml for `prefect deploy --all`.")
@CHANGES
def serve(
    recipes: tuple[Path, ...], changes: tuple[str, ...], limit: int, ui_port: int,
    no_schedules: bool, once: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Register the deployments and schedules of RECIPE and work on them, on this machine."""
    from flows.serve import load_all, plan_all, serve_recipes

    if dry_run:
        from flows.deployments import as_prefect_yaml

        planned = plan_all(load_all(recipes, changes), not no_schedules)
        click.echo(as_prefect_yaml(planned), nl=False)
        return
    serve_recipes(recipes, changes, limit, ui_port, not no_schedules, once)


@click.command()
@click.argument("run")
@click.option("--until", metavar="STAGE", default="handoff", show_default=True)
@click.option("--dry-run", is_flag=True, help="Print the new shards and the plan; make nothing.")
@CHANGES
def append(run: str, until: str, dry_run: bool, changes: tuple[str, ...]) -> None:
    """Append a version to the dataset of RUN: new shards only, with its labels and filter."""
    from flows.append import append_version
    from flows.main import find_run

    append_version(find_run(run), changes, until, dry_run)


@click.command()
@click.argument("run", required=False)
@click.option("--every", type=click.IntRange(5), metavar="SECONDS", help="Look again, for ever.")
def resume(run: str | None, every: int | None) -> None:
    """Go on with RUN, or with every run that crashed or was cancelled.

    With --every, go on with those that crashed whenever there are some, a few times each.
    """
    from flows.resume import keep_looking, resume_runs

    for line in resume_runs(run) if every is None else keep_looking(every):
        click.echo(line)


@click.command()
def bootstrap() -> None:
    """Make the work pool and the automations that find dead runs, on the Prefect server."""
    from flows.bootstrap import bootstrap as make

    for made in make() or ["everything is there already"]:
        click.echo(made)


@click.command()
@click.argument("run")
@click.option("--approve", is_flag=True, help="Approve what waits; --by and --reason are a must.")
@click.option("--reject", is_flag=True, help="Reject what waits; --by and --reason are a must.")
@click.option("--again", is_flag=True, help="Begin anew with the same dataset; --reason is a must.")
@click.option("--by", metavar="NAME", help="Who decides.")
@click.option("--reason", metavar="TEXT", help="Why.")
@click.option("--dry-run", is_flag=True, help="Verify and print the preview; begin nothing.")
@click.option("--wait", is_flag=True, help="End when the handoff has: promoted, held or rejected.")
@click.option("--here", is_flag=True, help="Go on in this process, without a Prefect flow.")
@CHANGES
def handoff(
    run: str, approve: bool, reject: bool, again: bool, by: str | None, reason: str | None,
    dry_run: bool, wait: bool, here: bool, changes: tuple[str, ...],
) -> None:  # fmt: skip
    """Verify the dataset of RUN, publish its preview, wait for approval, start the training.

    Given again it goes on, and says how the handoff stands; docs/handing-over.md.
    """
    from flows.hand_over import hand_over

    hand_over(run, approve, reject, by, reason, again, wait, dry_run, here, changes)


@click.command()
@click.argument("run")
@click.option("--state", type=click.Choice(["running", "done", "failed"]), required=True)
@click.option("--model", metavar="DIR", help="Where the model lies; without it, stage 11's.")
@click.option("--by", metavar="NAME", required=True, help="Who reports.")
@click.option("--reason", metavar="TEXT", help="How it ended.")
@click.option("--delivery", metavar="ID", help="What the trigger gave, so that it is no other.")
@click.option("--here", is_flag=True, help="Go on in this process, without a Prefect flow.")
def report(
    run: str, state: str, model: str | None, by: str, reason: str | None, delivery: str | None,
    here: bool,
) -> None:  # fmt: skip
    """Say how the training that the handoff of RUN started goes; evaluation follows by itself."""
    from flows.hand_over import report

    report(run, state, model, by, reason, delivery, here)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8_080, show_default=True)
@click.option("--no-token", is_flag=True, help="Let anyone on loopback press the buttons.")
@click.option(
    "--token-to-read/--read-freely", default=None, help="[the token, where not on loopback]"
)
@click.option("--name", "names", multiple=True, help="Another name that it is called by.")
@click.option("--https", is_flag=True, help="It is reached by HTTPS only, through a proxy.")
def catalog(
    host: str, port: int, no_token: bool, token_to_read: bool | None, names: tuple[str, ...],
    https: bool,
) -> None:  # fmt: skip
    """Show datasets, cards, samples, lineage and evaluations in a browser."""
    from catalog.serve import open_settings, serve_catalog

    def accept_report(run: Path, body: bytes, headers: Mapping[str, str]) -> Mapping[str, object]:
        from flows.report_back import accept_report as accept  # a second, which few pages need

        return accept(run, body, headers)

    settings = open_settings(host, no_token, token_to_read, names, https, accept_report)
    serve_catalog(settings, host, port)


COMMANDS = (serve, append, resume, bootstrap, handoff, report, catalog)
