"""The `primer` command. Every import that costs time waits for the command that needs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from flows import model_commands, operating_commands
from pipeline.environment import runs_directory
from pipeline.errors import InputError, StageError
from pipeline.logs import report_failure, set_up_logging

# Two idle threads that spin take the core from whoever works beside them: measured 2.4k against
# 11.5k tokens/s of training beside one busy process. It must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class _Commands(click.Group):
    """Turns our errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        set_up_logging()
        try:
            return super().invoke(ctx)
        except StageError as error:
            report_failure(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("primer: stopped; the same command goes on from here", err=True)
            ctx.exit(3)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="primer")
def primer() -> None:
    """Turn raw web pages and code into textbook-quality training data."""


for command in (*model_commands.COMMANDS, *operating_commands.COMMANDS):
    primer.add_command(command)


@primer.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option("--from", "start", metavar="STAGE", help="Take what stands before it as sealed.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the teacher's cost; run nothing.")
@click.option("--set", "changes", multiple=True, metavar="SECTION.FIELD=VALUE")
def run(
    recipe: Path, until: str | None, start: str | None, dry_run: bool, changes: tuple[str, ...]
) -> None:
    """Carry RECIPE through the journey; what is sealed is skipped, what was killed resumes."""
    from flows.recipe import load_recipe
    from flows.show import open_console, print_plan, print_run

    loaded = load_recipe(recipe, changes)
    directory = runs_directory() / loaded.name
    if dry_run:
        from flows.estimate import estimate_teacher
        from flows.journey import plan_journey
        from flows.show import print_sources
        from pipeline.ingest import IngestConfig, list_sources

        print_sources(open_console(), list_sources(loaded.section(IngestConfig)))
        plan = plan_journey(loaded, directory, start, until)
        print_plan(open_console(), loaded, plan, estimate_teacher(loaded, plan))
        return
    from flows.run import run_journey

    run_journey(loaded, directory, start, until)
    print_run(open_console(), directory)


@primer.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "changes", multiple=True, metavar="SECTION.FIELD=VALUE")
def estimate(recipe: Path, changes: tuple[str, ...]) -> None:
    """Print the calls, tokens and money that the teacher of RECIPE still takes, before any call."""
    from flows.estimate import estimate_teacher
    from flows.journey import plan_journey
    from flows.recipe import load_recipe
    from flows.show import open_console, print_cost

    loaded = load_recipe(recipe, changes)
    plan = plan_journey(loaded, runs_directory() / loaded.name)
    print_cost(open_console(), loaded, estimate_teacher(loaded, plan))


@primer.command()
@click.argument("run", required=False)
def show(run: str | None) -> None:
    """Show the journey of RUN (a name or a directory; without it, the newest run)."""
    from flows.show import open_console, print_run

    print_run(open_console(), find_run(run))


@primer.command()
@click.argument("run")
def verify(run: str) -> None:
    """Recompute every hash and ledger of RUN; exit 0 only if all hold."""
    from pipeline.verify import sealed_stages, verify_run

    directory = find_run(run)
    problems = verify_run(directory)
    for problem in problems:
        click.echo(f"primer: verify: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
    stages = sealed_stages(directory)
    files = sum(len(manifest.files) for _, manifest in stages.values())
    click.echo(f"{directory}: {len(stages)} stages, {files} files: every hash and ledger holds")


@primer.command()
@click.argument("run")
@click.option("--check", "is_check", is_flag=True, help="Hold it against manifests and schema.")
@click.option("--publish", "place", type=click.Path(path_type=Path), metavar="DIR",
              help="Copy the dataset out, whole.")  # fmt: skip
def card(run: str, is_check: bool, place: Path | None) -> None:
    """Print the dataset card of RUN, check it, or copy the dataset out."""
    from flows.card import work_on_card

    if not work_on_card(find_run(run), is_check, place):
        raise click.exceptions.Exit(1)


@primer.command()
@click.option("--of", "what", type=click.Choice(["recipe", "handoff", "results"]), default="recipe")
def schema(what: str) -> None:
    """Print the JSON schema of recipes, of handoffs, or of an evaluation's results."""
    if what == "recipe":
        from flows.recipe import recipe_schema as found
    elif what == "handoff":
        from pipeline.handoff_record import handoff_schema as found
    else:
        from downstream.results_schema import results_schema as found
    click.echo(found(), nl=False)


@primer.command()
@click.option("--model", required=True, metavar="RUN", help="A run, or a directory of a filter.")
def score(model: str) -> None:
    """Score documents with the filter of RUN: JSON lines on standard input, one answer for each.

    A line has `text`, `kind` (web, which is meant where it is missing, or code) and perhaps `id`.
    An answer has `id`, `score` (probability of the positive class), `expected_score` (0 to 5) and
    `keep`; or, for a line that cannot be scored, `error`, and then the exit code is 1.
    """
    from flows.score import score_standard_input
    from pipeline.filter_model import find_model

    score_standard_input(find_model("score", model))


@primer.command("filter")
@click.option("--model", required=True, metavar="RUN", help="A run, or a directory of a filter.")
@click.option("--in", "addresses", multiple=True, metavar="ADDRESS...", help="Where to read.")
@click.argument("more", nargs=-1, metavar="")
@click.option("--out", required=True, metavar="ADDRESS", help="Where to write.")
@click.option("--text", default="text", metavar="FIELD", show_default=True, help="The text.")
@click.option("--kind", type=click.Choice(["web", "code"]), help="Of every document. [web]")
@click.option("--kind-field", metavar="FIELD", help="Kind of each; --kind is that of a null.")
@click.option("--id", "id_field", metavar="FIELD", help="Without it, ids are file:row.")
@click.option("--tasks", type=click.IntRange(1), help="Shards that the files are dealt to.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--executor", type=click.Choice(["local", "ray", "slurm"]), default="local")
@click.option("--format", "form", type=click.Choice(["parquet", "jsonl.zst"]), help="[as read]")
@click.option("--max-document-bytes", type=click.IntRange(1_000), help="[10,000,000]")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
def filter_(
    model: str, addresses: tuple[str, ...], more: tuple[str, ...], out: str, text: str,
    kind: Any, kind_field: str | None, id_field: str | None, tasks: int | None, workers: int,
    executor: Any, form: str | None, max_document_bytes: int | None, dry_run: bool,
) -> None:  # fmt: skip
    """Filter Parquet and JSON lines (.jsonl, .jsonl.zst, .jsonl.gz) at any addresses.

    An ADDRESS is a directory, a glob or a file, here or in a store (s3://bucket/path). Finished
    files are skipped when the same command runs again.
    """
    from flows.filter import filter_corpus
    from pipeline.document_batch import MAX_DOCUMENT_BYTES, Fields
    from pipeline.filter_corpus import FilterOptions
    from pipeline.filter_model import find_model

    if not addresses:
        raise InputError("filter", "there is nothing to read", "give --in ADDRESS")
    fields = Fields(text, kind or (None if kind_field else "web"), kind_field, id_field)
    options = FilterOptions(fields, form, max_document_bytes or MAX_DOCUMENT_BYTES)
    filter_corpus(
        find_model("filter", model), [*addresses, *more], out, options,
        tasks, workers, executor, dry_run,
    )  # fmt: skip


def find_run(run: str | None) -> Path:
    """The directory of a run, given its name, its path, or nothing (the newest)."""
    runs = runs_directory()
    if run is None:
        found = sorted(runs.glob("*/recipe.yaml"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise InputError("runs", f"{runs} holds no run", "run a recipe first")
        return found[-1].parent
    for directory in (Path(run), runs / run):
        if directory.is_dir():
            return directory
    raise InputError("runs", f"there is no run {run!r}", f"give a directory or a name in {runs}")
